import ArgumentParser
import Foundation

/// Prints a log, or follows it over server-sent events. A stream that stops without its `end` event was cut: it is
/// resumed after the last piece, so nothing is printed twice and nothing is left out.
struct Logs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print what a task wrote.",
        discussion: """
            The task's stdout goes to stdout and its stderr to stderr, byte for byte. A log is capped: of a long one \
            the beginning is gone. With -o json each piece is one line.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The task's id.", valueName: "task-id"))
    var id: String

    @Flag(name: .shortAndLong, help: "Go on until the task has ended.")
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
            for entry in page.entries { try write(entry) }
            after = page.cursor
        } while after != nil
    }

    /// Resumes after the last piece when the connection breaks.
    private func following(_ api: APIClient, _ queue: String) async throws {
        var last: String?
        var failures = 0
        while true {
            var hasEnded = false
            do {
                try await api.events(
                    ["scheduler", "task", id, "log"], query: [("queue", queue), ("follow", "1")], lastID: last
                ) { event in
                    failures = 0
                    if event.name == "end" {
                        hasEnded = true
                        return
                    }
                    if event.name == "error" { throw Problem.failure(event: event.data) }
                    var entry = try APIClient.decode(LogEntryView.self, Data(event.data.utf8))
                    entry.id = entry.id ?? event.id
                    last = entry.id ?? last
                    try write(entry)
                }
            } catch let failure as Failure where failure.status == .unavailable && failures < 10 {
                failures += 1
                if failures == 1 { try Console.error.line("the server is away, trying again: \(failure.firstLine)") }
            }
            if hasEnded { return }
            // A stream that stops without an end was cut.
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func write(_ entry: LogEntryView) throws {
        if let attempt, entry.attempt != attempt { return }
        if output.isJSON { return try Console.out.line(JSONText.encode(entry)) }
        try (entry.stream == "stderr" ? Console.error : Console.out).write(bytes: entry.bytes)
    }
}

struct LogPage: Decodable, Sendable {
    var entries: [LogEntryView]
    /// Where the next page begins; nil: this was the last.
    var cursor: String?
}

/// One piece of output.
struct LogEntryView: Codable, Sendable {
    var id: String?
    var attempt: Int?
    var stream: String?
    /// Text, or base64 of what is no text.
    var data: String?
    var dataBase64: String?

    var bytes: [UInt8] {
        if let dataBase64, let decoded = Data(base64Encoded: dataBase64) { return Array(decoded) }
        return Array((data ?? "").utf8)
    }
}
