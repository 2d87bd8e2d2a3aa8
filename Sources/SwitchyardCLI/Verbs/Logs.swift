import ArgumentParser
import Foundation
import Switchyard

/// Prints a task's log, or follows it over server-sent events. A stream that stops without its `end` event was
/// interrupted: it is resumed after the last entry, so that no entry is printed twice or missed.
struct Logs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print what a task wrote.",
        discussion: """
            The task's stdout goes to stdout and its stderr to stderr, byte for byte. On a terminal colours are kept, \
            and sequences that do more (move the cursor, change the title) are dropped. A log is capped: of a long \
            output the beginning and the end are kept, and a line on stderr says how much is missing between them. \
            With -o json each entry is one line.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The task's id.", valueName: "task-id"))
    var id: String

    @Flag(name: .shortAndLong, help: "Follow the log until the task has ended.")
    var follow = false

    @Option(help: ArgumentHelp("Only what this attempt wrote.", valueName: "n"))
    var attempt: Int?

    func run() async throws {
        let (api, queue) = try await server.connect()
        try await follow ? following(api, queue) : once(api, queue)
    }

    private func once(_ api: APIClient, _ queue: String) async throws {
        var after: String?
        repeat {
            let page = try await api.send(
                LogPage.self, .GET, ["scheduler", "task", id, "log"], query: [("queue", queue), ("after", after)])
            try write(removed: page.removed)
            for entry in page.entries { try write(entry) }
            after = page.cursor
        } while after != nil
    }

    /// A stream on which something arrives after this long shows that the server is there, even if the task writes
    /// nothing: the server sends a comment every 10 s. Shorter than that, and longer than an attempt to connect.
    private static let goodStream: Duration = .seconds(6)

    /// Follows the log, and resumes it after the last entry when the connection breaks.
    /// - Throws: ``Failure`` if the server is unreachable, or ends each stream at once, until the patience ends.
    func following(_ api: APIClient, _ queue: String, patience: Patience = Patience()) async throws {
        var patience = patience
        var last: String?
        while true {
            var hasEnded = false
            let start = ContinuousClock.now
            var failure = Failure(.unavailable, "the server at \(api.shown) ended the stream before the task ended")
            do {
                try await api.events(
                    ["scheduler", "task", id, "log"], query: [("queue", queue), ("follow", "1")], lastID: last,
                    onBytes: { if ContinuousClock.now - start >= Self.goodStream { patience.succeeded() } },
                    receive: { event in
                        if event.name == "end" {
                            hasEnded = true
                            try write(removed: try APIClient.decode(LogEnd.self, Data(event.data.utf8)).removed)
                            return
                        }
                        if event.name == "error" { throw Problem.failure(event: event.data) }
                        var entry = try APIClient.decode(LogEntryView.self, Data(event.data.utf8))
                        entry.id = entry.id ?? event.id
                        if let id = entry.id, id != last {
                            patience.succeeded()
                            last = id
                        }
                        try write(entry)
                    })
            } catch let error as Failure {
                failure = error
            }
            if hasEnded { return }
            try await patience.wait(after: failure)
        }
    }

    /// Says that the log was removed. The reason may be one that this version does not know.
    private func write(removed: String?) throws {
        if let removed { try Console.error.line("[switchyard: \(removed)]") }
    }

    private func write(_ entry: LogEntryView) throws {
        if let attempt, entry.attempt != attempt { return }
        if output.isJSON { return try Console.out.json(JSONText.encode(entry)) }
        if let mark = LogEntry.mark(missingBytes: entry.missingBytes ?? 0) { try Console.error.write(mark) }
        try (entry.stream == "stderr" ? FilteredOutput.error : FilteredOutput.out).write(entry.bytes)
    }
}

struct LogPage: Decodable, Sendable {
    var entries: [LogEntryView]
    /// The start of the next page; nil: this is the last page.
    var cursor: String?
    /// Why the log is not there any more.
    var removed: String?
}

/// The event after the last chunk of a log.
struct LogEnd: Decodable, Sendable {
    /// Why the log is not there any more.
    var removed: String?
}

/// One chunk of a task's output.
struct LogEntryView: Codable, Sendable {
    var id: String?
    var attempt: Int?
    var stream: String?
    /// The output if it is text; else `dataBase64` has it.
    var data: String?
    var dataBase64: String?
    /// How many bytes are missing before this chunk.
    var missingBytes: Int?

    var bytes: [UInt8] {
        if let dataBase64, let decoded = Data(base64Encoded: dataBase64) { return Array(decoded) }
        return Array((data ?? "").utf8)
    }
}
