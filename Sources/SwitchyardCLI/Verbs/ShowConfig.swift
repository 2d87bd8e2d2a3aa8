import ArgumentParser
import JSON
import RedisClient

struct ShowConfig: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Print every setting, with its effective value and where the value comes from.",
        discussion: """
            Flags take precedence over the environment (SWITCHYARD_…), the environment over the JSON file (--config \
            or SWITCHYARD_CONFIG), and the file over the defaults. Passwords are not shown.
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var run: RunOptions
    @OptionGroup var redis: RedisOptions
    @OptionGroup var listening: ListenOptions
    @OptionGroup var scheduler: SchedulerOptions

    func run() async throws {
        let settings = try await run.settings([redis.flags, listening.flags, scheduler.flags])
        let instances = try settings.redisInstances()
        let rows = Setting.all.map { setting in
            let entry = settings.values[setting]
            let value: JSONValue? =
                switch setting {
                case .redis: instances.isEmpty ? nil : .string(instances.map(\.description).joined(separator: ","))
                case .redisPassword: entry.map { _ in "***" }
                case .server: .string(ServerAddress.shown(settings.text(.server)))
                case .partitions: entry?.value.json ?? JSONValue(max(instances.count, 1))
                default: entry?.value.json
                }
            return (setting, value ?? .null, "\(entry?.origin ?? .byDefault)")
        }
        if output.isJSON {
            var members: [String: JSONValue] = [:]
            for (setting, value, origin) in rows {
                for name in setting.names {
                    // The older names are for scripts that know only these.
                    let value = name.hasSuffix("_ms") ? value.double.map { JSONValue($0 * 1000) } ?? value : value
                    members[name] = ["origin": .string(origin), "value": value]
                }
            }
            return try Console.out.json(JSONValue(sorted: members).text)
        }
        var table = Table([.text("SETTING"), .text("VALUE"), .text("FROM")])
        table.rows = rows.map { setting, value, origin in
            let absent = setting == .redis ? "(a private redis-server)" : "(none)"
            return [
                Table.Cell(setting.name), Table.Cell(value == .null ? absent : value.plainText),
                Table.Cell(origin, origin == "default" ? .dim : .green),
            ]
        }
        try output.write(table)
    }
}
