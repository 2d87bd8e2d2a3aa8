import ArgumentParser
import Foundation
import JSON

struct Stats: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the numbers of a queue: tasks, workers, and classes of workers.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var watching: WatchOptions

    func run() async throws {
        let (api, queue) = try await server.connect()
        try await watching.run(isJSON: output.isJSON) {
            let data = try await api.send(.GET, ["scheduler", "stats"], query: [("queue", queue)])
            if output.isJSON { return output.json(data) }
            let stats = try APIClient.decode(StatsView.self, data)
            let tables = [stats.table(queue: queue), stats.classTable].filter { !$0.rows.isEmpty }
            return tables.map { $0.render(colour: Console.out.hasColour) }.joined(separator: "\n")
        }
    }
}

/// The fields of the response of `GET /scheduler/stats` that are shown.
struct StatsView: Decodable, Sendable {
    var pendingTasks, assignedTasks, runningTasks: Int?
    var completedTasks, failedTasks, timeoutTasks, cancelledTasks: Int?
    var totalWorkers, idleWorkers, drainingWorkers, busyWorkers, cordonedWorkers: Int?
    var queueFullErrors, unroutableTasks, desiredWorkers: Int?
    var heldTasks, waitingTasks, blockedTasks: Int?
    var classes: [WorkerClass]?

    /// The numbers of the workers with the same labels and the same capacity.
    struct WorkerClass: Decodable, Sendable {
        var `class`: String
        var workers, slots, busy, draining, ready, desiredWorkers: Int?
    }
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
        let others = [(heldTasks, "held"), (waitingTasks, "after others"), (blockedTasks, "at a limit")]
        var waiting = priorities + others.compactMap { count, name in count.flatMap { $0 > 0 ? "\($0) \(name)" : nil } }
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
        let cordoned = cordonedWorkers.flatMap { $0 > 0 ? "\($0) cordoned" : nil }
        let wanted = desiredWorkers.map { "\($0) wanted" }
        let draining = drainingWorkers.flatMap { $0 > 0 ? "\($0) draining" : nil }
        add("workers", totalWorkers, [idle, draining, cordoned, wanted].compactMap { $0 }.joined(separator: ", "))
        add(
            "unroutable", unroutableTasks, (unroutableTasks ?? 0) > 0 ? "no worker could take them" : "", alarm: .yellow
        )
        add("queue full", queueFullErrors, (queueFullErrors ?? 0) > 0 ? "submissions refused" : "", alarm: .yellow)
        return table
    }

    /// A row for each class. It is empty if no worker has labels or capacity: the queue's numbers say the same then.
    var classTable: Table {
        var table = Table([
            .text("CLASS"), .number("WORKERS"), .number("SLOTS"), .number("BUSY"), .number("READY"), .number("WANTED"),
        ])
        guard let classes, classes.contains(where: { !$0.class.isEmpty }) else { return table }
        func cell(_ count: Int?) -> Table.Cell { Table.Cell(count.map(String.init)) }
        table.rows = classes.map { one in
            [
                Table.Cell(one.class.isEmpty ? "(plain)" : one.class), cell(one.workers), cell(one.slots),
                cell(one.busy), cell(one.ready), cell(one.desiredWorkers),
            ]
        }
        return table
    }
}
