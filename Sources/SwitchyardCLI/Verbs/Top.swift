import ArgumentParser
import Foundation

/// Shows a summary of the queue, refreshed every second by default. On a terminal it redraws one screen; elsewhere it
/// prints one view after another.
struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Watch the queue: its numbers, workers, running tasks, and the tasks that ended last.",
        discussion: "Press q or Ctrl-C to end it.")

    @OptionGroup var server: ServerOptions

    @Option(
        help: ArgumentHelp("How often to refresh.", valueName: "duration"), transform: Seconds.init(transforming:))
    var interval = Seconds(value: 1)

    func run() async throws {
        let (api, queue) = try await server.connect()
        let pause = max(interval.duration, .milliseconds(100))
        var source = TopSource(api: api, queue: queue)
        guard Console.out.isTerminal else {
            return try await WatchOptions.show(every: pause, isJSON: false) {
                (try await Patience.retrying { try await source.read() }.text(colour: false), isLast: false)
            }
        }
        // The first read comes before the terminal is taken over, so that its error is printed normally.
        let first = try await Patience.retrying { try await source.read() }
        let terminal = try Terminal()
        defer { terminal.leave() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [source] in try await Self.draw(first, on: terminal, source, every: pause) }
            group.addTask {
                for await key in terminal.keys where key == "q" || key == "Q" { return }
            }
            try await group.next()
            group.cancelAll()
        }
    }

    private static func draw(
        _ first: TopView, on terminal: Terminal, _ source: TopSource, every pause: Duration
    ) async throws {
        var source = source
        var view = first
        var problem: String?
        while true {
            let rows = terminal.size.rows
            let notice = problem.map { Colour.red.paint(TerminalText.line($0), if: Console.out.hasColour) + "\n" } ?? ""
            try terminal.draw(notice + view.text(rows: rows - (problem == nil ? 1 : 2), colour: Console.out.hasColour))
            try await Task.sleep(for: pause)
            do {
                view = try await source.read()
                problem = nil
            } catch let failure as Failure where failure.status == .unavailable {
                problem = failure.firstLine
            }
        }
    }
}
