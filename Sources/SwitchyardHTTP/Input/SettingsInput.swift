import JSON
import Switchyard

/// A queue's settings as clients read and change them. ``QueueSetting/all`` declares them; durations are in seconds
/// (`lease_seconds` for `lease_ms`).
enum Settings {
    private static let all = QueueSetting.all.filter { $0.scope == .queue }

    /// Reads the body of a PATCH: the settings to change, by their names in Redis.
    static func changes(_ body: JSONValue) throws -> [(name: String, value: Int)] {
        let fields = try Fields(body, known: Set(all.map(\.field)))
        return try all.compactMap { setting in
            let value: Int? =
                switch setting.kind {
                case .count, .size: try fields.integer(setting.field, in: setting.range)
                case .duration: try fields.seconds(setting.field, milliseconds: setting.range)?.milliseconds
                case .flag: try fields.flag(setting.field).map { $0 ? 1 : 0 }
                }
            return value.map { (setting.storedName, $0) }
        }
    }

    /// Returns the name in JSON of the setting that Redis calls `stored`.
    static func name(of stored: String) -> String {
        all.first { $0.storedName == stored }?.field ?? stored
    }

    static func json(_ settings: [String: Int], queue: String) -> JSONValue {
        var json: JSONValue = ["queue": .string(queue)]
        for setting in all {
            let value = settings[setting.storedName]
            switch setting.kind {
            case .count, .size: json.add(setting.field, value.map { JSONValue($0) })
            case .duration: json.add(setting.field, value.map { JSONValue(.milliseconds($0)) })
            case .flag: json.add(setting.field, .bool(value == 1))
            }
        }
        return json
    }
}
