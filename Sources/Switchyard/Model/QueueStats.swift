import Foundation

/// A queue in numbers.
public struct QueueStats: Sendable, Equatable {
    public var queue: String
    /// In line, not counting the held ones.
    public var ready: Int
    /// Waiting for a time: delays, backoffs and rate limits.
    public var held: Int
    /// Waiting for other tasks to complete.
    public var waiting: Int
    /// Waiting for the end of a task with the same concurrency key.
    public var blocked: Int
    /// Of those in line, the ones that no registered worker could run.
    public var unroutable: Int
    public var assigned: Int
    public var running: Int
    /// Tasks by their latest end, those since deleted included.
    public var completed: Int
    public var failed: Int
    public var timeout: Int
    public var cancelled: Int
    public var readyByPriority: [TaskPriority: Int]
    public var totalWorkers: Int
    /// Workers that wait for work with at least one free slot.
    public var idleWorkers: Int
    public var slots: Int
    public var queueFullErrors: Int
    public var retries: Int
    /// Attempts whose worker vanished.
    public var lost: Int
    /// Entries that the reconciler had to put right; anything but 0 is an alarm.
    public var repaired: Int
    /// The age of the task that has waited longest in line.
    public var oldestPending: Duration
    public var isPaused: Bool
    /// Made once for each life of the queue's data; nil before the first write.
    public var instance: String?

    public var pending: Int { ready + held + waiting + blocked }
    public var busyWorkers: Int { totalWorkers - idleWorkers }
}

/// A registered worker.
public struct WorkerInfo: Sendable, Equatable {
    public var id: String
    public var slots: Int
    /// Attempts that it holds.
    public var busy: Int
    public var isDraining: Bool
    public var labels: [String]
    public var resources: Resources
    /// The name of its class: labels and capacity in canonical order; empty for a worker without any.
    public var workerClass: String
    public var registeredAt: Date?
    /// When it is taken for lost, unless a heartbeat comes.
    public var expiresAt: Date?
    /// The rest of what it said of itself (host, pid, version), and last_assigned in µs.
    public var details: [String: String]
}

/// A batch in numbers.
public struct BatchStatus: Sendable, Equatable {
    public var id: String
    public var total: Int
    public var counts: [TaskState: Int]
    public var submittedAt: Date?
    /// When the last of its tasks ended.
    public var finishedAt: Date?

    /// The id of its follow-up task, once that has been started.
    public var followUp: String?

    public func count(_ state: TaskState) -> Int { counts[state] ?? 0 }

    /// The share of its tasks that have ended, 0 to 1.
    public var progress: Double {
        let ended = TaskState.allCases.filter(\.isTerminal).reduce(0) { $0 + count($1) }
        return total > 0 ? Double(ended) / Double(total) : 1
    }
}
