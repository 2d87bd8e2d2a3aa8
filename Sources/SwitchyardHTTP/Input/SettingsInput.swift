import Switchyard

/// A queue's settings as clients read and change them: durations are in seconds (`lease_seconds` for `lease_ms`).
enum Settings {
    private struct Setting {
        /// The name in JSON.
        var name: String
        /// The name in Redis.
        var stored: String
        /// The stored values that `configure.lua` accepts.
        var range: ClosedRange<Int>
        var isSeconds: Bool { stored.hasSuffix("_ms") }
    }

    private static let all: [Setting] = [
        Setting(name: "max_queue_length", stored: "max_queue_length", range: 1...100_000_000),
        Setting(
            name: "default_timeout_seconds", stored: "default_timeout_ms", range: TaskInput.timeoutMilliseconds),
        Setting(name: "default_max_retries", stored: "default_max_retries", range: TaskInput.retries),
        Setting(name: "retry_delay_seconds", stored: "retry_delay_ms", range: 0...86_400_000),
        Setting(name: "retry_delay_max_seconds", stored: "retry_delay_max_ms", range: 0...86_400_000),
        Setting(name: "retry_jitter_percent", stored: "retry_jitter_percent", range: 0...100),
        Setting(name: "retention_seconds", stored: "retention_ms", range: 0...31_536_000_000),
        Setting(name: "max_finished", stored: "max_finished", range: 0...100_000_000),
        Setting(name: "cleanup_interval_seconds", stored: "cleanup_interval_ms", range: 0...86_400_000),
        Setting(name: "lease_seconds", stored: "lease_ms", range: 100...3_600_000),
        Setting(name: "heartbeat_seconds", stored: "heartbeat_ms", range: 20...3_600_000),
        Setting(name: "assign_timeout_seconds", stored: "assign_timeout_ms", range: 100...3_600_000),
        Setting(name: "max_deliveries", stored: "max_deliveries", range: 1...1000),
        Setting(name: "aging_seconds", stored: "aging_ms", range: 0...604_800_000),
        Setting(name: "reserve_after_seconds", stored: "reserve_after_ms", range: 0...86_400_000),
        Setting(name: "log_max_entries", stored: "log_max_entries", range: 1...1_000_000),
    ]

    /// A paused queue assigns no tasks; a draining one accepts no new ones.
    private static let flags = ["paused", "draining"]

    /// Reads the body of a PATCH: the settings to change, by their names in Redis.
    static func changes(_ body: JSONValue) throws -> [(name: String, value: Int)] {
        let fields = try Fields(body, known: Set(all.map(\.name) + flags))
        var changes: [(name: String, value: Int)] = try all.compactMap { setting in
            let value =
                setting.isSeconds
                ? try fields.seconds(setting.name, milliseconds: setting.range)?.milliseconds
                : try fields.integer(setting.name, in: setting.range)
            return value.map { (setting.stored, $0) }
        }
        for name in flags {
            if let flag = try fields.flag(name) { changes.append((name, flag ? 1 : 0)) }
        }
        return changes
    }

    /// Returns the name in JSON of the setting that Redis calls `stored`.
    static func name(of stored: String) -> String {
        all.first { $0.stored == stored }?.name ?? stored
    }

    static func json(_ settings: [String: Int], queue: String) -> JSONValue {
        var json: JSONValue = ["queue": .string(queue)]
        for name in flags { json.add(name, .bool(settings[name] == 1)) }
        for setting in all {
            json.add(
                setting.name,
                settings[setting.stored].map { setting.isSeconds ? JSONValue(.milliseconds($0)) : JSONValue($0) })
        }
        return json
    }
}
