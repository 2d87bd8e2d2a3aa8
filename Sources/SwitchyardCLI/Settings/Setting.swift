import JSON
import Switchyard

/// A setting of the commands. It has one name: as it is in the JSON file, `SWITCHYARD_<NAME>` in the environment, and
/// `--<name>` with dashes as a flag. ``QueueSetting/all`` declares the settings of a queue.
struct Setting: Sendable {
    static let redis = Setting("redis")
    /// Not flags, which every user of the machine can read.
    static let redisPassword = Setting("redis_password")
    static let redisPasswordFile = Setting("redis_password_file")
    static let partitions = Setting("partitions", .count, range: 1...Partitions.most)
    static let listen = Setting("listen", default: .text("127.0.0.1:8080"))
    static let allowedHost = Setting("allowed_host")
    static let data = Setting("data", default: .text("./.switchyard"))
    static let queue = Setting("queue", default: .text("default"))
    static let server = Setting("server", default: .text("http://127.0.0.1:8080"))
    static let logLevel = Setting("log_level", default: .text("info"))
    static let logFormat = Setting("log_format", default: .text("text"))
    static let insecurePublic = Setting("insecure_public", .flag, default: .flag(false))

    /// The settings of a queue that a replica writes when it starts.
    static let ofReplicas = QueueSetting.all.filter(\.isOfReplica).map(Setting.init)

    static let all =
        [redis, redisPassword, redisPasswordFile, partitions, listen, allowedHost, data, queue, server] + ofReplicas
        + [logLevel, logFormat, insecurePublic]

    enum Value: Sendable, Equatable {
        case text(String)
        case count(Int)
        /// Milliseconds.
        case duration(Int)
        /// Bytes.
        case size(Int)
        case flag(Bool)
    }

    enum Kind: Sendable { case text, count, duration, size, flag }

    let name: String
    /// Older names, which mean the same.
    let aliases: [String]
    let kind: Kind
    /// The default value; nil: the setting has no value unless one is given.
    let defaultValue: Value?
    /// The range that the queue accepts; milliseconds for a duration. It is checked here too, because a replica would
    /// only log the error.
    let range: ClosedRange<Int>?
    /// The setting of a queue that this is.
    let ofQueue: QueueSetting?

    private init(
        _ name: String, _ kind: Kind = .text, default defaultValue: Value? = nil, range: ClosedRange<Int>? = nil
    ) {
        self.name = name
        self.aliases = []
        self.kind = kind
        self.defaultValue = defaultValue
        self.range = range
        self.ofQueue = nil
    }

    init(_ setting: QueueSetting) {
        name = setting.name
        aliases = setting.aliases
        range = setting.range
        ofQueue = setting
        switch setting.kind {
        case .count: (kind, defaultValue) = (.count, .count(setting.defaultValue))
        case .duration: (kind, defaultValue) = (.duration, .duration(setting.defaultValue))
        case .size: (kind, defaultValue) = (.size, .size(setting.defaultValue))
        case .flag: (kind, defaultValue) = (.flag, .flag(setting.defaultValue == 1))
        }
    }

    /// Whether the value may contain a password, so that it is never shown as it is.
    var isSecret: Bool { self == .redis || self == .redisPassword }

    /// The name and the aliases.
    var names: [String] { [name] + aliases }
    var flag: String { Self.flag(name) }
    var variable: String { Self.variable(name) }

    static func flag(_ name: String) -> String { "--" + name.replacing("_", with: "-") }
    static func variable(_ name: String) -> String { "SWITCHYARD_" + name.uppercased() }
}

extension Setting: Hashable {
    static func == (left: Setting, right: Setting) -> Bool { left.name == right.name }
    func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

extension Setting.Value: CustomStringConvertible {
    /// As it is given as a flag.
    var description: String {
        switch self {
        case .text(let text): text
        case .count(let number): "\(number)"
        case .duration(let milliseconds): DurationText.text(.milliseconds(milliseconds))
        case .size(let bytes): SizeText.text(bytes: bytes)
        case .flag(let isSet): isSet ? "true" : "false"
        }
    }

    /// The number; milliseconds for a duration, bytes for a size.
    var number: Int? {
        switch self {
        case .count(let number), .duration(let number), .size(let number): number
        case .text, .flag: nil
        }
    }

    /// The value as JSON; seconds for a duration, bytes for a size.
    var json: JSONValue {
        switch self {
        case .text(let text): .string(text)
        case .count(let number), .size(let number): JSONValue(number)
        case .duration(let milliseconds): JSONValue(Double(milliseconds) / 1000)
        case .flag(let isSet): .bool(isSet)
        }
    }
}
