import ArgumentParser
import Foundation
import JSON

struct Workers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the workers of a queue, drain one, or cordon one.",
        subcommands: [ListWorkers.self, DrainWorker.self, CordonWorker.self, UncordonWorker.self],
        defaultSubcommand: ListWorkers.self)
}

struct ListWorkers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the workers.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var watching: WatchOptions

    func run() async throws {
        let (api, queue) = try await server.connect()
        try await watching.run(isJSON: output.isJSON) {
            let data = try await api.send(.GET, ["scheduler", "workers"], query: [("queue", queue)])
            if output.isJSON { return output.json(data) }
            let workers = try APIClient.decode(WorkersView.self, data).workers
            if workers.isEmpty { try Console.error.line("no workers; start one with `switchyard worker`") }
            return workers.isEmpty ? "" : Self.table(workers).render(colour: Console.out.hasColour)
        }
    }

    static func table(_ workers: [WorkersView.Worker], now: Date = Date()) -> Table {
        var table = Table([
            .text("WORKER"), .text("STATE"), .number("BUSY"), .number("SLOTS"), .number("CPU"), .number("MEMORY"),
            .text("RESOURCES"), .text("HOST"), .text("LABELS"), .number("UP"),
        ])
        table.rows = workers.map { worker in
            [
                Table.Cell(worker.workerId),
                worker.stateCell,
                Table.Cell(worker.busyCell), Table.Cell(worker.slots.map(String.init)),
                Table.Cell(worker.cpu?.shownText), Table.Cell(worker.memoryMb?.shownText.map { "\($0) MB" }),
                Table.Cell(worker.otherResources.flatMap(TaskTables.resources)),
                Table.Cell(worker.host), Table.Cell(worker.labels?.joined(separator: ",")),
                Table.Cell(HumanTime.age(since: worker.registeredAt.flatMap(HumanTime.parse), now: now)),
            ]
        }
        return table
    }
}

/// The response of `GET /scheduler/workers`.
struct WorkersView: Decodable, Sendable {
    struct Worker: Decodable, Sendable {
        var workerId: String
        var slots, busySlots, ending: Int?
        var draining, cordoned: Bool?
        var labels: [String]?
        var cpu, memoryMb: JSONValue?
        var resources: [String: JSONValue]?
        var host: String?
        var note: String?
        var registeredAt: String?

        /// Idle: it could take a task now, as `idle_workers` of the statistics counts it.
        var stateCell: Table.Cell {
            if draining == true { return Table.Cell("draining", .yellow) }
            if cordoned == true { return Table.Cell("cordoned", .yellow) }
            // It says until when the worker takes no tasks, and why.
            if let note { return Table.Cell(note, .yellow) }
            return Table.Cell((busySlots ?? 0) < (slots ?? 1) ? "idle" : "busy")
        }

        /// The slots that are taken, and how many of them by processes that were told to end.
        var busyCell: String? {
            guard let busySlots else { return nil }
            return "\(busySlots)" + ((ending ?? 0) > 0 ? " (\(ending ?? 0) ending)" : "")
        }

        /// The resources that have no column of their own.
        var otherResources: [String: JSONValue]? { resources?.filter { !["cpu", "memory_mb"].contains($0.key) } }
    }
    var workers: [Worker]
}

/// The worker that a verb is about, and the request that the verb makes.
struct WorkerOrder: ParsableArguments {
    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The worker's id.", valueName: "worker-id"))
    var id: String

    /// - Parameter state: what the worker is afterwards, for people.
    func send(_ verb: String, then state: String) async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.POST, ["scheduler", "worker", id, verb], query: [("queue", queue)])
        if output.isJSON { return try output.writeJSON(data) }
        try Console.out.line("\(id)  \(state)")
    }
}

struct DrainWorker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Ask a worker's process to finish its tasks and to pull no more; it ends then.")

    @OptionGroup var order: WorkerOrder

    func run() async throws { try await order.send("drain", then: "draining") }
}

struct CordonWorker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cordon",
        abstract: "Give a worker no more tasks until it is uncordoned, also after a restart with its id.")

    @OptionGroup var order: WorkerOrder

    func run() async throws { try await order.send("cordon", then: "cordoned") }
}

struct UncordonWorker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uncordon", abstract: "Give a cordoned worker tasks again.")

    @OptionGroup var order: WorkerOrder

    func run() async throws { try await order.send("uncordon", then: "uncordoned") }
}
