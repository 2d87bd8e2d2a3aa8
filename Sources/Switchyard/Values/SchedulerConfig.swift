/// The settings of a scheduler, with their defaults. All but `schedulerInterval` are stored in Redis, in the queue's
/// `config`, where every replica and worker sees a change at once.
public struct SchedulerConfig: Sendable, Equatable {
    /// The maximum number of pending tasks of one queue, held tasks included. One more is refused with `QueueFull`.
    public var maxQueueLength = 500
    /// The time limit of an attempt whose task was submitted without one.
    public var defaultTaskTimeout: Duration = .seconds(7200)
    /// The number of retries of a task that was submitted without one.
    public var defaultMaxRetries = 2
    /// The maximum time between two ticks of a replica.
    public var schedulerInterval: Duration = .milliseconds(500)
    /// Ended tasks are deleted at most this long after their retention is over.
    public var cleanupInterval: Duration = .seconds(300)
    /// How long an ended task is kept.
    public var completedTaskRetention: Duration = .seconds(7200)
    /// The maximum number of ended tasks that are kept, whatever their retention; 0: no limit.
    public var maxFinished = 0
    /// How long a lease and a worker's registration last after a heartbeat.
    public var lease: Duration = .seconds(15)
    /// How often workers send heartbeats.
    public var heartbeat: Duration = .seconds(5)
    /// How long an assigned task may stay unstarted.
    public var assignTimeout: Duration = .seconds(15)
    /// How many deliveries may fail before the task fails: assignments that expire unstarted, and lost workers.
    public var maxDeliveries = 5
    /// The backoff before the first retry. It doubles with each retry, up to `retryDelayMax`.
    public var retryDelay: Duration = .seconds(1)
    /// The longest backoff.
    public var retryDelayMax: Duration = .seconds(300)
    /// Each backoff varies at random by up to this many percent, in both directions.
    public var retryJitterPercent = 20
    /// How many pieces of output a task's log keeps.
    public var logMaxEntries = 1000

    /// The defaults.
    public init() {}

    /// The settings that are stored in Redis, by their names there. Durations are in milliseconds.
    var settings: [(name: String, value: Int)] {
        [
            ("max_queue_length", maxQueueLength),
            ("default_timeout_ms", defaultTaskTimeout.milliseconds),
            ("default_max_retries", defaultMaxRetries),
            ("cleanup_interval_ms", cleanupInterval.milliseconds),
            ("retention_ms", completedTaskRetention.milliseconds),
            ("max_finished", maxFinished),
            ("lease_ms", lease.milliseconds),
            ("heartbeat_ms", heartbeat.milliseconds),
            ("assign_timeout_ms", assignTimeout.milliseconds),
            ("max_deliveries", maxDeliveries),
            ("retry_delay_ms", retryDelay.milliseconds),
            ("retry_delay_max_ms", retryDelayMax.milliseconds),
            ("retry_jitter_percent", retryJitterPercent),
            ("log_max_entries", logMaxEntries),
        ]
    }

    /// The settings that differ from the defaults. A replica writes these when it starts.
    var changedSettings: [(name: String, value: Int)] {
        zip(settings, SchedulerConfig().settings).filter { $0.0.value != $0.1.value }.map(\.0)
    }
}

extension Duration {
    /// Whole milliseconds, rounded down; saturates at the bounds of `Int`.
    public var milliseconds: Int {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        if overflow { return seconds > 0 ? .max : .min }
        return Int(clamping: product) + Int(attoseconds / 1_000_000_000_000_000)
    }

    /// Seconds as a decimal number.
    public var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }
}
