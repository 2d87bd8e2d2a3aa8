import ArgumentParser
import RedisClient

struct ShowConfig: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Print every setting, with its effective value and where the value comes from.",
        discussion: """
            Flags take precedence over the environment (SWITCHYARD_…), the environment over the JSON file (--config \
            or SWITCHYARD_CONFIG), and the file over the defaults. A password in the Redis URL is not shown.
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var run: RunOptions
    @OptionGroup var redis: RedisOptions
    @OptionGroup var listening: ListenOptions
    @OptionGroup var scheduler: SchedulerOptions

    func run() async throws {
        let settings = try await run.settings([redis.flags, listening.flags, scheduler.flags])
        let instances = try settings.redisInstances()
        let rows = Setting.allCases.map { setting in
            let entry = settings.values[setting]
            let value: JSONValue? =
                switch setting {
                case .redis: instances.isEmpty ? nil : .string(instances.map(\.description).joined(separator: ","))
                case .partitions: entry?.value.json ?? .integer(Int64(max(instances.count, 1)))
                default: entry?.value.json
                }
            return (setting, value ?? .null, "\(entry?.origin ?? .byDefault)")
        }
        if output.isJSON {
            let members = rows.map { ($0.0.rawValue, JSONValue.object(["value": $0.1, "origin": .string($0.2)])) }
            return try Console.out.line(JSONText.encode(Dictionary(uniqueKeysWithValues: members)))
        }
        var table = Table([.text("SETTING"), .text("VALUE"), .text("FROM")])
        table.rows = rows.map { setting, value, origin in
            [
                Table.Cell(setting.rawValue), Table.Cell(value == .null ? "(a private redis-server)" : value.text),
                Table.Cell(origin, origin == "default" ? .dim : .green),
            ]
        }
        try output.write(table)
    }
}
