/// The settings that a scheduler is given. All but `schedulerInterval` are stored in Redis, in the queue's `config`,
/// where every replica and worker sees a change at once. ``QueueSetting/all`` has the defaults, which `init` sets.
public struct SchedulerConfig: Sendable, Equatable {
    /// The maximum number of pending tasks of one queue, held tasks included. One more is refused with `QueueFull`.
    public var maxQueueLength = 0
    /// The time limit of an attempt whose task was submitted without one.
    public var defaultTaskTimeout: Duration = .zero
    /// The number of retries of a task that was submitted without one.
    public var defaultMaxRetries = 0
    /// The maximum time between two ticks of a replica.
    public var schedulerInterval: Duration = .zero
    /// Ended tasks are deleted at most this long after their retention is over.
    public var cleanupInterval: Duration = .zero
    /// How long an ended task is kept.
    public var completedTaskRetention: Duration = .zero
    /// The maximum number of ended tasks that are kept, whatever their retention; 0: no limit.
    public var maxFinished = 0
    /// How long a lease and a worker's registration last after a heartbeat.
    public var lease: Duration = .zero
    /// How often workers send heartbeats.
    public var heartbeat: Duration = .zero
    /// How long an assigned task may stay unstarted.
    public var assignTimeout: Duration = .zero
    /// How many deliveries may fail before the task fails: assignments that expire unstarted, and lost workers.
    public var maxDeliveries = 0
    /// The backoff before the first retry. It doubles with each retry, up to `retryDelayMax`.
    public var retryDelay: Duration = .zero
    /// The longest backoff.
    public var retryDelayMax: Duration = .zero
    /// Each backoff varies at random by up to this many percent, in both directions.
    public var retryJitterPercent = 0
    /// A task that is too big for the free capacity reserves a worker once it has been first in its lane for this long.
    public var reserveAfter: Duration = .zero
    /// How many Redis replicas should have a submission before its caller gets the response; 0: it does not wait.
    public var replicasToWait = 0
    /// Limit on the pieces of output that a task's log keeps, in addition to its limit in bytes.
    public var logMaxEntries = 0
    /// Limit on all logs of the queue, in bytes. Beyond it, the logs of the tasks that ended first are removed. 0: a
    /// quarter of Redis's `maxmemory`, or 1 GiB if it has none.
    public var logBudget = 0

    /// The defaults.
    public init() {
        for setting in QueueSetting.all { setting.set(setting.defaultValue, in: &self) }
    }

    /// The settings that are stored in Redis, by their names there. Durations are in milliseconds.
    var settings: [(name: String, value: Int)] {
        QueueSetting.all.filter { $0.scope == .queue }.compactMap { setting in
            setting.value(in: self).map { (setting.storedName, $0) }
        }
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
