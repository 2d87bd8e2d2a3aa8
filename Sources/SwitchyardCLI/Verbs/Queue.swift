import ArgumentParser
import Foundation
import JSON
import Switchyard

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
            For example `switchyard queue set max_queue_length=5000 retention=1h`. A duration is a number of seconds, \
            or has a unit: 500ms, 1.5s, 5m, 1h, 2d. Without arguments it shows the settings by their names in HTTP \
            (retention_seconds). A setting is effective until it is changed, or until a replica with another value \
            starts.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("A setting to change.", valueName: "name=value"))
    var settings: [String] = []

    func run() async throws {
        let body = try Self.body(settings)
        let (api, queue) = try await server.connect()
        let data = try await api.send(.PATCH, ["scheduler", "queue", queue], body: .json(body))
        if output.isJSON { return try output.writeJSON(data) }
        let effective = try APIClient.decode([String: JSONValue].self, data)
        var table = Table([.text("SETTING"), .number("VALUE")])
        table.rows = effective.sorted { $0.key < $1.key }.map { [Table.Cell($0.key), Table.Cell($0.value.plainText)] }
        try output.write(table)
    }

    /// Durations may have a unit, and then need none in the name. A name that is not known here is left to the server,
    /// which may be newer.
    static func body(_ settings: [String]) throws(Failure) -> String {
        var body: JSONValue = [:]
        var given: [String: (name: String, value: Setting.Value)] = [:]
        for text in settings {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw Failure(.usage, "expected NAME=VALUE, found \(Name.shown(text))")
            }
            let (name, input) = (parts[0], parts[1])
            guard let setting = QueueSetting.named(name), setting.scope == .queue else {
                guard let number = Seconds(argument: input) else {
                    throw Failure(.usage, "\(Name.shown(name)): expected a number, found \(Name.shown(input))")
                }
                body.add(name, number.json)
                continue
            }
            let value = try Setting(setting).value(of: .text(input), named: name, label: name)
            guard let other = given.updateValue((name, value), forKey: setting.name) else {
                body.add(setting.field, value.json)
                continue
            }
            guard other.value == value else {
                throw Failure(
                    .usage,
                    """
                    \(other.name) and \(name) are one setting: expected one of them, or the same value, \
                    found \(other.value) and \(value)
                    """)
            }
        }
        return body.text
    }
}
