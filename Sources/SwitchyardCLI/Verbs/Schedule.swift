import ArgumentParser
import Foundation
import JSON
import Switchyard

struct Schedule: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a task repeatedly, at the times of a cron expression.",
        subcommands: [ListSchedules.self, PutSchedule.self, RemoveSchedule.self],
        defaultSubcommand: ListSchedules.self)
}

extension RecurringSchedule.Missed: ExpressibleByArgument {}

struct PutSchedule: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put",
        abstract: "Create a schedule, or replace the one with the same id.",
        usage: """
            switchyard schedule put ID --cron '0 3 * * *' [--zone Europe/Berlin] [options] -- COMMAND…
            """,
        discussion: """
            --cron takes 5 fields (minute hour day-of-month month day-of-week), or 6 with seconds first, or @hourly, \
            @daily, @weekly, @monthly, @yearly. Each firing submits a task with the id ID.<due time, ms since 1970>.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The schedule's id.", valueName: "schedule-id"))
    var id: String

    @Option(help: ArgumentHelp("The times at which it fires, as a cron expression.", valueName: "expression"))
    var cron: String

    @Option(help: ArgumentHelp("The time zone of the expression, by its IANA name (default UTC).", valueName: "zone"))
    var zone: String?

    @Option(help: "What to do about times that passed while no replica ran: skip them (default), or run once for all.")
    var missed: RecurringSchedule.Missed?

    @OptionGroup(title: "Task Options") var task: TaskOptions

    @Argument(parsing: .postTerminator, help: "What to run: an argument vector, never passed through a shell.")
    var command: [String] = []

    func validate() throws {
        if task.id != nil { throw ValidationError("--id is not allowed here: each firing has its own id") }
        if task.runAt != nil { throw ValidationError("--run-at is not allowed here: --cron says when it runs") }
        guard !command.isEmpty || task.repo != nil || task.target != nil || task.payload != nil else {
            throw ValidationError("nothing to run: expected -- COMMAND, --repo, --target or --payload")
        }
    }

    func run() async throws {
        let body = try body()
        let (api, queue) = try await server.connect()
        let data = try await api.send(
            .PUT, ["scheduler", "schedule", id], query: [("queue", queue)], body: .json(body))
        if output.isJSON { return try output.writeJSON(data) }
        let schedule = try APIClient.decode(ScheduleView.self, data)
        try Console.out.line("\(schedule.scheduleId)  next \(schedule.nextAt ?? "never")")
    }

    func body() throws -> String {
        var body: JSONValue = ["cron": .string(cron)]
        body.add("zone", zone.map { .string($0) })
        body.add("missed", missed.map { .string($0.rawValue) })
        body.add("task", .raw(try task.body(command: command, queue: nil, id: nil, rejectIfNoWorkers: false)))
        return body.text
    }
}

struct ListSchedules: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the schedules, next first.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.GET, ["scheduler", "schedules"], query: [("queue", queue)])
        if output.isJSON { return try output.writeJSON(data) }
        let schedules = try APIClient.decode(SchedulesView.self, data).schedules
        if schedules.isEmpty {
            return try Console.error.line("no schedules; create one with `switchyard schedule put`")
        }
        try output.write(Self.table(schedules))
    }

    static func table(_ schedules: [ScheduleView], now: Date = Date()) -> Table {
        var table = Table([
            .text("SCHEDULE"), .text("CRON"), .text("ZONE"), .text("MISSED"), .text("NEXT"), .number("IN"),
            .text("LAST"), .text("TASK"), .text("PROBLEM"),
        ])
        table.rows = schedules.map { schedule in
            let left = schedule.nextAt.flatMap(HumanTime.parse).map { HumanTime.duration($0.timeIntervalSince(now)) }
            return [
                Table.Cell(schedule.scheduleId), Table.Cell(schedule.cron), Table.Cell(schedule.zone),
                Table.Cell(schedule.missed), Table.Cell(schedule.nextAt), Table.Cell(left),
                Table.Cell(schedule.lastAt), Table.Cell(schedule.task?.what), Table.Cell(schedule.problem, .red),
            ]
        }
        return table
    }
}

struct RemoveSchedule: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Delete a schedule; the tasks that it has submitted stay.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The schedule's id.", valueName: "schedule-id"))
    var id: String

    func run() async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.DELETE, ["scheduler", "schedule", id], query: [("queue", queue)])
        if output.isJSON { return try output.writeJSON(data) }
        try Console.out.line("\(id)  removed")
    }
}
