/// The settings of a scheduler, with the seed's defaults. All but `schedulerInterval` are kept in Redis, in the queue's
/// `config`, where every replica and worker sees a change at once.
public struct SchedulerConfig: Sendable, Equatable {
    /// How many tasks may wait in one queue, held ones included; one more is refused with `QueueFull`.
    public var maxQueueLength = 500
    /// The time limit of one attempt where its submitter gave none.
    public var defaultTaskTimeout: Duration = .seconds(7200)
    public var defaultMaxRetries = 2
    /// A replica makes time pass at least this often.
    public var schedulerInterval: Duration = .milliseconds(500)
    /// Ended tasks are deleted up to this long after their retention is over.
    public var cleanupInterval: Duration = .seconds(300)
    public var completedTaskRetention: Duration = .seconds(7200)
    /// How many ended tasks are kept at most, whatever their retention; 0: no limit.
    public var maxFinished = 0
    /// How long an attempt lives without a heartbeat.
    public var lease: Duration = .seconds(15)
    public var heartbeat: Duration = .seconds(5)
    /// How long a pulled task may stay unstarted.
    public var assignTimeout: Duration = .seconds(15)
    /// How often a task may be pulled and not started before it fails.
    public var maxDeliveries = 5
    /// Before the first retry; doubles with each, up to `retryDelayMax`.
    public var retryDelay: Duration = .seconds(1)
    public var retryDelayMax: Duration = .seconds(300)
    /// Each delay is drawn from ± this many percent around it.
    public var retryJitterPercent = 20
    /// How many pieces of output a task's log keeps.
    public var logMaxEntries = 1000

    public init() {}

    /// The settings kept in Redis, by their names there. Durations in milliseconds.
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

    /// The settings that differ from the defaults: what a replica writes when it starts.
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
