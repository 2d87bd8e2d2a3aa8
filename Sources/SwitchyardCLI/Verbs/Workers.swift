import ArgumentParser
import Foundation
import JSON

struct Workers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the workers of a queue, or drain one.",
        subcommands: [ListWorkers.self, DrainWorker.self], defaultSubcommand: ListWorkers.self)
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
            if output.isJSON { return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .newlines) + "\n" }
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
                state(of: worker),
                Table.Cell(worker.busySlots.map(String.init)), Table.Cell(worker.slots.map(String.init)),
                Table.Cell(worker.cpu?.shownText), Table.Cell(worker.memoryMb?.shownText.map { "\($0) MB" }),
                Table.Cell(worker.otherResources.flatMap(TaskTables.resources)),
                Table.Cell(worker.host), Table.Cell(worker.labels?.joined(separator: ",")),
                Table.Cell(HumanTime.age(since: worker.registeredAt.flatMap(HumanTime.parse), now: now)),
            ]
        }
        return table
    }

    /// The note of a worker that takes no tasks for now says until when, and why.
    private static func state(of worker: WorkersView.Worker) -> Table.Cell {
        if worker.draining == true { return Table.Cell("draining", .yellow) }
        if let note = worker.note { return Table.Cell(note, .yellow) }
        return Table.Cell((worker.busySlots ?? 0) > 0 ? "busy" : "idle")
    }
}

/// The response of `GET /scheduler/workers`.
struct WorkersView: Decodable, Sendable {
    struct Worker: Decodable, Sendable {
        var workerId: String
        var slots, busySlots: Int?
        var draining: Bool?
        var labels: [String]?
        var cpu, memoryMb: JSONValue?
        var resources: [String: JSONValue]?
        var host: String?
        var note: String?
        var registeredAt: String?

        /// The resources that have no column of their own.
        var otherResources: [String: JSONValue]? { resources?.filter { !["cpu", "memory_mb"].contains($0.key) } }
    }
    var workers: [Worker]
}

struct DrainWorker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Ask a worker to finish its tasks and to pull no more.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The worker's id.", valueName: "worker-id"))
    var id: String

    func run() async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.POST, ["scheduler", "worker", id, "drain"], query: [("queue", queue)])
        if output.isJSON { return try output.writeJSON(data) }
        try Console.out.line("\(id)  draining")
    }
}
