import Switchyard

/// The settings of the commands. Each has one name: the raw value in the JSON file, `SWITCHYARD_<NAME>` in the
/// environment, and `--<name>` with dashes as a flag. Durations are in seconds unless the name has another unit.
enum Setting: String, CaseIterable, Sendable {
    case redis
    case partitions
    case listen
    case allowedHost = "allowed_host"
    case data
    case queue
    case server
    case maxQueueLength = "max_queue_length"
    case defaultTaskTimeout = "default_task_timeout"
    case defaultMaxRetries = "default_max_retries"
    case schedulerIntervalMS = "scheduler_interval_ms"
    case cleanupInterval = "cleanup_interval"
    case completedTaskRetention = "completed_task_retention"
    case maxFinished = "max_finished"
    case lease
    case heartbeat
    case assignTimeout = "assign_timeout"
    case maxDeliveries = "max_deliveries"
    case retryDelay = "retry_delay"
    case retryDelayMax = "retry_delay_max"
    case retryJitterPercent = "retry_jitter_percent"
    case logMaxEntries = "log_max_entries"
    case logLevel = "log_level"
    case logFormat = "log_format"
    case insecurePublic = "insecure_public"

    enum Value: Sendable, Equatable {
        case text(String)
        case count(Int)
        case seconds(Double)
        case flag(Bool)
    }

    enum Kind: Sendable { case text, count, seconds, flag }

    /// The default value; nil: the setting has no value unless one is given.
    var defaultValue: Value? {
        let config = SchedulerConfig()
        return switch self {
        case .redis, .partitions, .allowedHost: nil
        case .listen: .text("127.0.0.1:8080")
        case .data: .text("./.switchyard")
        case .queue: .text("default")
        case .server: .text("http://127.0.0.1:8080")
        case .maxQueueLength: .count(config.maxQueueLength)
        case .defaultTaskTimeout: .seconds(config.defaultTaskTimeout.seconds)
        case .defaultMaxRetries: .count(config.defaultMaxRetries)
        case .schedulerIntervalMS: .count(config.schedulerInterval.milliseconds)
        case .cleanupInterval: .seconds(config.cleanupInterval.seconds)
        case .completedTaskRetention: .seconds(config.completedTaskRetention.seconds)
        case .maxFinished: .count(config.maxFinished)
        case .lease: .seconds(config.lease.seconds)
        case .heartbeat: .seconds(config.heartbeat.seconds)
        case .assignTimeout: .seconds(config.assignTimeout.seconds)
        case .maxDeliveries: .count(config.maxDeliveries)
        case .retryDelay: .seconds(config.retryDelay.seconds)
        case .retryDelayMax: .seconds(config.retryDelayMax.seconds)
        case .retryJitterPercent: .count(config.retryJitterPercent)
        case .logMaxEntries: .count(config.logMaxEntries)
        case .logLevel: .text("info")
        case .logFormat: .text("text")
        case .insecurePublic: .flag(false)
        }
    }

    var kind: Kind {
        if self == .partitions { return .count }
        return switch defaultValue {
        case nil, .text: .text
        case .count: .count
        case .seconds: .seconds
        case .flag: .flag
        }
    }

    /// The range that the queue accepts (`Functions/api/queue/configure.lua`). It is checked here too, because a
    /// replica would only log the error.
    var range: ClosedRange<Double>? {
        switch self {
        case .partitions: 1...Double(Partitions.most)
        case .maxQueueLength: 1...100_000_000
        case .defaultTaskTimeout: 0.001...2_592_000
        case .defaultMaxRetries, .retryJitterPercent: 0...100
        case .schedulerIntervalMS: 10...60_000
        case .cleanupInterval, .retryDelay, .retryDelayMax: 0...86_400
        case .completedTaskRetention: 0...31_536_000
        case .maxFinished: 0...100_000_000
        case .lease, .assignTimeout: 0.1...3600
        case .heartbeat: 0.02...3600
        case .maxDeliveries: 1...1000
        case .logMaxEntries: 1...1_000_000
        case .redis, .listen, .allowedHost, .data, .queue, .server, .logLevel, .logFormat, .insecurePublic: nil
        }
    }

    var flag: String { "--" + rawValue.replacing("_", with: "-") }
    var variable: String { "SWITCHYARD_" + rawValue.uppercased() }
}

extension Setting.Value: CustomStringConvertible {
    var description: String {
        switch self {
        case .text(let text): text
        case .count(let number): "\(number)"
        case .seconds(let seconds): JSONValue.number(seconds).text
        case .flag(let isSet): isSet ? "true" : "false"
        }
    }

    var number: Double? {
        switch self {
        case .count(let number): Double(number)
        case .seconds(let seconds): seconds
        case .text, .flag: nil
        }
    }

    var json: JSONValue {
        switch self {
        case .text(let text): .string(text)
        case .count(let number): .integer(Int64(number))
        case .seconds(let seconds): .number(seconds)
        case .flag(let isSet): .bool(isSet)
        }
    }
}
