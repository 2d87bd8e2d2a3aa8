import ArgumentParser
import Foundation

struct Stats: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show the queue in numbers.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var watching: WatchOptions

    func run() async throws {
        let (api, queue) = try await server.connect()
        try await watching.run(isJSON: output.isJSON) {
            let data = try await api.send(.GET, ["scheduler", "stats"], query: [("queue", queue)])
            if output.isJSON { return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .newlines) + "\n" }
            let stats = try APIClient.decode(StatsView.self, data)
            return stats.table(queue: queue).render(colour: Console.out.hasColour)
        }
    }
}

/// What `GET /scheduler/stats` answers, as far as it is shown.
struct StatsView: Decodable, Sendable {
    var pendingTasks, assignedTasks, runningTasks: Int?
    var completedTasks, failedTasks, timeoutTasks, cancelledTasks: Int?
    var totalWorkers, idleWorkers, busyWorkers: Int?
    var queueFullErrors, unroutableTasks, desiredWorkers: Int?
    var oldestPendingSeconds: Double?
    var byPriority: [String: JSONValue]?
    var queues: [String: JSONValue]?

    func table(queue: String) -> Table {
        var table = Table([.text(""), .number(""), .text("")])
        func add(_ name: String, _ value: Int?, _ note: String = "", alarm: Colour? = nil) {
            guard let value else { return }
            table.rows.append([
                Table.Cell(name, .dim), Table.Cell("\(value)", value > 0 ? alarm : nil), Table.Cell(note),
            ])
        }
        let priorities = ["critical", "high", "normal", "low"].compactMap { name in
            byPriority?[name]?.int.flatMap { $0 > 0 ? "\($0) \(name)" : nil }
        }
        var waiting = priorities
        if let oldest = oldestPendingSeconds, oldest > 0 { waiting.append("oldest \(HumanTime.duration(oldest))") }
        if queues?[queue]?["paused"] == .bool(true) { waiting.append("paused") }
        add("pending", pendingTasks, waiting.joined(separator: ", "))
        add("assigned", assignedTasks)
        add("running", runningTasks)
        add("completed", completedTasks)
        add("failed", failedTasks, alarm: .red)
        add("timeout", timeoutTasks, alarm: .red)
        add("cancelled", cancelledTasks)
        let idle = idleWorkers.map { "\($0) idle" }
        let wanted = desiredWorkers.map { "\($0) wanted" }
        add("workers", totalWorkers, [idle, wanted].compactMap { $0 }.joined(separator: ", "))
        add(
            "unroutable", unroutableTasks, (unroutableTasks ?? 0) > 0 ? "no worker could take them" : "", alarm: .yellow
        )
        add("queue full", queueFullErrors, (queueFullErrors ?? 0) > 0 ? "submissions refused" : "", alarm: .yellow)
        return table
    }
}
