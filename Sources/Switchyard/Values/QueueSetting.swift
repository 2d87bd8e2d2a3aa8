extension QueueSetting {
    /// Every setting, in the order in which HTTP, the help and the documentation show them. The checks of HTTP, the
    /// flags, environment variables and file names of the command line, and ``SchedulerConfig`` follow from this table.
    /// The functions in Redis have the defaults in `core/queue.lua` and the bounds in `api/queue/configure.lua`.
    public static let all: [QueueSetting] = [
        QueueSetting("paused", .flag, default: 0, 0...1, help: "The queue assigns no tasks."),
        QueueSetting("draining", .flag, default: 0, 0...1, help: "The queue takes no new tasks."),
        QueueSetting(
            "max_queue_length", count: \.maxQueueLength, default: 500, 1...100_000_000,
            help: "The maximum number of pending tasks; one more is refused with QueueFull."),
        QueueSetting(
            "default_timeout", duration: \.defaultTaskTimeout, default: 7_200_000, 1...2_592_000_000,
            aliases: ["default_task_timeout"], help: "The time limit of an attempt, for tasks without one."),
        QueueSetting(
            "default_max_retries", count: \.defaultMaxRetries, default: 2, 0...100,
            help: "The number of retries, for tasks without one."),
        QueueSetting(
            "retry_delay", duration: \.retryDelay, default: 1000, 0...86_400_000,
            help: "The backoff before the first retry; it doubles with each retry."),
        QueueSetting(
            "retry_delay_max", duration: \.retryDelayMax, default: 300_000, 0...86_400_000,
            help: "The longest backoff before a retry."),
        QueueSetting(
            "retry_jitter_percent", count: \.retryJitterPercent, default: 20, 0...100,
            help: "A backoff varies at random by ± this many percent."),
        QueueSetting(
            "retention", duration: \.completedTaskRetention, default: 7_200_000, 0...31_536_000_000,
            aliases: ["completed_task_retention"], help: "How long ended tasks are kept."),
        QueueSetting(
            "max_finished", count: \.maxFinished, default: 0, 0...100_000_000,
            help: "The maximum number of ended tasks that are kept, whatever their retention; 0: no limit."),
        QueueSetting(
            "cleanup_interval", duration: \.cleanupInterval, default: 300_000, 0...86_400_000,
            help: "Ended tasks are deleted at most this long after their retention is over."),
        QueueSetting(
            "lease", duration: \.lease, default: 15_000, 100...3_600_000,
            help: "How long a lease and a worker's registration last after a heartbeat."),
        QueueSetting(
            "heartbeat", duration: \.heartbeat, default: 5000, 20...3_600_000,
            help: "How often workers send heartbeats; at most half of lease."),
        QueueSetting(
            "assign_timeout", duration: \.assignTimeout, default: 15_000, 100...3_600_000,
            help: "How long an assigned task may stay unstarted."),
        QueueSetting(
            "max_deliveries", count: \.maxDeliveries, default: 5, 1...1000,
            help: "A task fails after this many deliveries without a start or with a lost worker."),
        // Not a setting of a replica: a change is refused while the queue has tasks, also when a replica starts.
        QueueSetting(
            "aging", .duration, default: 0, 0...604_800_000,
            help: "This much waiting is worth one priority level; 0: strict levels. "
                + "It can be changed only while no task is pending or running."),
        QueueSetting(
            "reserve_after", duration: \.reserveAfter, default: 10_000, 0...86_400_000,
            help: "A task that is too big for the free capacity reserves a worker once it has been first in its lane "
                + "for this long."),
        QueueSetting(
            "replicas_to_wait", count: \.replicasToWait, default: 0, 0...SchedulerHandle.mostReplicas,
            help: "A submission waits, at most a second, until so many Redis replicas have it; if they do not, its "
                + "response says replicated: false."),
        QueueSetting(
            "log_max_entries", count: \.logMaxEntries, default: 50_000, 1...1_000_000,
            help: "Limit on the pieces of output in a task's log, besides its 4 MiB."),
        QueueSetting(
            "log_budget", size: \.logBudget, default: 0, 0...17_592_186_044_416,
            help: "Limit on all logs of the queue; beyond it, the logs of the tasks that ended first are removed; 0: a "
                + "quarter of Redis's maxmemory, or 1G if it has none."),
        QueueSetting(
            "scheduler_interval", duration: \.schedulerInterval, default: 500, 10...60_000, scope: .replica,
            aliases: ["scheduler_interval_ms"], help: "The maximum time between two ticks of a replica."),
        QueueSetting(
            "partitions", .count, default: 1, 1...Partitions.most, scope: .farm,
            help: "The number of partitions, which follows from the replicas' --redis and --partitions."),
    ]
}

/// The description of one setting: its names, its type, its default, its bounds, and the property that holds it.
public struct QueueSetting: Sendable {
    /// The type of a setting.
    public enum Kind: Sendable {
        /// A whole number.
        case count
        /// A duration, in whole milliseconds.
        case duration
        /// A size, in bytes.
        case size
        /// True (1) or false (0).
        case flag
    }

    private typealias Property<Value> = any WritableKeyPath<SchedulerConfig, Value> & Sendable

    /// The property of ``SchedulerConfig`` that holds the value.
    private enum Holder {
        case count(Property<Int>)
        case duration(Property<Duration>)
        case size(Property<Int>)
    }

    /// Where a setting is, and who changes it.
    public enum Scope: Sendable {
        /// In the queue's `config`. Clients and replicas change it.
        case queue
        /// In the queue's `config`. Only replicas change it.
        case farm
        /// In a replica only.
        case replica
    }

    /// The name, without a unit for a duration and a size.
    public let name: String
    /// The type.
    public let kind: Kind
    private let holder: Holder?
    /// The default; milliseconds for a duration, bytes for a size.
    public let defaultValue: Int
    /// The bounds; milliseconds for a duration, bytes for a size.
    public let range: ClosedRange<Int>
    /// Where the setting is.
    public let scope: Scope
    /// Older names on the command line, in the environment and in the file. They mean the same as ``name``. Plain
    /// numbers are milliseconds for a name that ends with `_ms`.
    public let aliases: [String]
    /// One line of documentation.
    public let help: String

    private init(
        _ name: String, _ kind: Kind, _ holder: Holder? = nil, default defaultValue: Int, _ range: ClosedRange<Int>,
        scope: Scope = .queue, aliases: [String] = [], help: String
    ) {
        self.name = name
        self.kind = kind
        self.holder = holder
        self.defaultValue = defaultValue
        self.range = range
        self.scope = scope
        self.aliases = aliases
        self.help = help
    }

    private init(
        _ name: String, count property: Property<Int>, default defaultValue: Int, _ range: ClosedRange<Int>,
        help: String
    ) {
        self.init(name, .count, .count(property), default: defaultValue, range, help: help)
    }

    private init(
        _ name: String, duration property: Property<Duration>, default defaultValue: Int, _ range: ClosedRange<Int>,
        scope: Scope = .queue, aliases: [String] = [], help: String
    ) {
        self.init(
            name, .duration, .duration(property), default: defaultValue, range, scope: scope, aliases: aliases,
            help: help)
    }

    private init(
        _ name: String, size property: Property<Int>, default defaultValue: Int, _ range: ClosedRange<Int>,
        help: String
    ) {
        self.init(name, .size, .size(property), default: defaultValue, range, help: help)
    }

    /// Whether the value is a duration.
    public var isDuration: Bool { kind == .duration }
    /// The name in the queue's `config` in Redis: a duration has `_ms` there, a size `_bytes`.
    public var storedName: String { isDuration ? name + "_ms" : kind == .size ? name + "_bytes" : name }
    /// The name in HTTP: a duration has `_seconds` there, a size `_bytes`.
    public var field: String { isDuration ? name + "_seconds" : storedName }
    /// Whether a replica can be given the setting.
    public var isOfReplica: Bool { holder != nil }

    /// The setting with this name: that in Redis, that in HTTP, or any on the command line.
    public static func named(_ name: String) -> QueueSetting? {
        all.first { ([$0.name, $0.storedName, $0.field] + $0.aliases).contains(name) }
    }

    /// A value as text, such as `500` or `2h`.
    public func text(_ value: Int) -> String {
        switch kind {
        case .count: "\(value)"
        case .duration: DurationText.text(.milliseconds(value))
        case .size: SizeText.text(bytes: value)
        case .flag: value == 0 ? "false" : "true"
        }
    }

    /// The bounds as text, such as `0s to 1d`.
    public var bounds: String { "\(text(range.lowerBound)) to \(text(range.upperBound))" }

    /// The type and the bounds, for the documentation.
    public var summary: String {
        switch kind {
        case .count: "whole number, \(bounds)"
        case .duration: "duration, \(bounds)"
        case .size: "size, \(bounds)"
        case .flag: "true or false"
        }
    }

    /// The value in `config`; nil if it has no property there.
    public func value(in config: SchedulerConfig) -> Int? {
        switch holder {
        case .count(let property), .size(let property): config[keyPath: property]
        case .duration(let property): config[keyPath: property].milliseconds
        case nil: nil
        }
    }

    /// Sets the property of `config`, if the setting has one.
    public func set(_ value: Int, in config: inout SchedulerConfig) {
        switch holder {
        case .count(let property), .size(let property): config[keyPath: property] = value
        case .duration(let property): config[keyPath: property] = .milliseconds(value)
        case nil: break
        }
    }
}
