import ArgumentParser
import Foundation

struct Queue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pause, resume, drain or empty a queue, or change its settings and the priority of its tasks.",
        subcommands: [
            PauseQueue.self, ResumeQueue.self, DrainQueue.self, PurgeQueue.self, SetQueue.self, PrioritizeTask.self,
        ])
}

struct PauseQueue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Assign no more tasks; running tasks continue, and submissions are accepted.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.POST, ["scheduler", "queue", queue, "pause"])
        if output.isJSON { return try output.writeJSON(data) }
        try Console.out.line("queue \(queue)  paused")
    }
}

struct ResumeQueue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Assign tasks again, and accept new ones.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.POST, ["scheduler", "queue", queue, "resume"])
        if output.isJSON { return try output.writeJSON(data) }
        try Console.out.line("queue \(queue)  resumed")
    }
}

struct SetQueue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Change settings of a queue, for every replica and worker at once.",
        discussion: """
            For example `switchyard queue set max_queue_length=5000 retention_seconds=3600`. Without arguments it \
            shows the settings by their names here. A setting is effective until it is changed, or until a replica \
            with another value starts.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("A setting to change.", valueName: "name=number"))
    var settings: [String] = []

    func run() async throws {
        let body = try Self.body(settings)
        let (api, queue) = try await server.connect()
        let data = try await api.send(.PATCH, ["scheduler", "queue", queue], body: .json(body))
        if output.isJSON { return try output.writeJSON(data) }
        let effective = try APIClient.decode([String: JSONValue].self, data)
        var table = Table([.text("SETTING"), .number("VALUE")])
        table.rows = effective.sorted { $0.key < $1.key }.map { [Table.Cell($0.key), Table.Cell($0.value.text)] }
        try output.write(table)
    }

    /// Checks only that each value is a number or a duration: the server checks names and ranges.
    static func body(_ settings: [String]) throws(Failure) -> String {
        var body = JSONObjectText()
        for setting in settings {
            let parts = setting.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty, let value = Seconds(argument: parts[1]) else {
                throw Failure(.usage, "expected NAME=NUMBER, found \"\(setting)\"")
            }
            body.add(parts[0], json: value.json)
        }
        return body.text
    }
}
