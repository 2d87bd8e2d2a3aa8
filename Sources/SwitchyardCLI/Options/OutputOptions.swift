import ArgumentParser
import Foundation

/// Selects tables for people or JSON for programs. With `-o json` only JSON is written to stdout.
struct OutputOptions: ParsableArguments {
    enum Format: String, ExpressibleByArgument, CaseIterable, Sendable { case table, json }

    @Option(name: [.customShort("o"), .long], help: "How to print.")
    var output: Format = .table

    var isJSON: Bool { output == .json }

    /// Writes the server's own JSON text and one newline.
    func writeJSON(_ data: Data) throws(Failure) {
        try Console.out.write(json(data))
    }

    /// The server's own JSON text and one newline.
    func json(_ data: Data) -> String {
        TerminalText.json(String(decoding: data, as: UTF8.self).trimmingCharacters(in: .newlines)) + "\n"
    }

    func write(_ table: Table) throws(Failure) {
        try Console.out.write(table.render(colour: Console.out.hasColour))
    }
}

/// `--watch`: shows a view repeatedly, in place on a terminal.
struct WatchOptions: ParsableArguments {
    @Flag(help: "Refresh every few seconds, until interrupted.")
    var watch = false

    @Option(
        help: ArgumentHelp("How often --watch refreshes.", valueName: "duration"),
        transform: Seconds.init(transforming:))
    var interval = Seconds(value: 2)

    /// Shows the text of `body` once, or with `--watch` until interrupted.
    ///
    /// Once something was shown, an unreachable server is reported on stderr and tried again. Any other error ends it.
    func run(isJSON: Bool, _ body: () async throws -> String) async throws {
        try await run(isJSON: isJSON) { (try await body(), isLast: false) }
    }

    /// As above. `isLast` ends the watch: nothing will change any more.
    func run(isJSON: Bool, _ body: () async throws -> (String, isLast: Bool)) async throws {
        guard watch else { return try Console.out.write(try await body().0) }
        try await Self.show(every: max(interval.duration, .milliseconds(100)), isJSON: isJSON, body)
    }

    /// Shows the text of `body` every `interval` until it is the last one; in place on a terminal.
    static func show(
        every interval: Duration, isJSON: Bool, _ body: () async throws -> (String, isLast: Bool)
    ) async throws {
        var hasShown = false
        while true {
            do {
                let (text, isLast) = try await body()
                let clear = Console.out.isTerminal && !isJSON ? "\u{1B}[H\u{1B}[2J" : ""
                try Console.out.write(clear + text + (clear.isEmpty && !isJSON ? "\n" : ""))
                if isLast { return }
                hasShown = true
            } catch let failure as Failure where hasShown && failure.status == .unavailable {
                try Console.error.line("switchyard: \(failure)")
            }
            try await Task.sleep(for: interval)
        }
    }
}
