import Foundation

/// The counts of a queue.
public struct QueueStats: Sendable, Equatable {
    /// The queue's name.
    public var queue: String
    /// Pending tasks that may start as soon as a worker pulls them.
    public var ready: Int
    /// Pending tasks that wait for a time: a delay or a backoff.
    public var held: Int
    /// Pending tasks that wait for their dependencies, or to enter the queue with their batch.
    public var waiting: Int
    /// Pending tasks that a concurrency limit or a rate limit blocks.
    public var blocked: Int
    /// Ready tasks that no registered worker could run.
    public var unroutable: Int
    /// Assigned tasks: pulled, not started.
    public var assigned: Int
    /// Running tasks.
    public var running: Int
    /// Tasks whose latest end was a success. This count and the next three include tasks that were deleted since.
    public var completed: Int
    /// Tasks whose latest end was a failure.
    public var failed: Int
    /// Tasks whose latest end was a time limit.
    public var timeout: Int
    /// Tasks whose latest end was a cancellation.
    public var cancelled: Int
    /// Ready and blocked tasks by priority.
    public var readyByPriority: [TaskPriority: Int]
    /// Registered workers.
    public var totalWorkers: Int
    /// Workers that could take a task now: they sleep with at least one free slot, and are neither draining nor
    /// cordoned.
    public var idleWorkers: Int
    /// Cordoned workers, also those that are not registered now.
    public var cordonedWorkers: Int
    /// Slots of the registered workers.
    public var slots: Int
    /// Submissions that were refused with `QueueFull`.
    public var queueFullErrors: Int
    /// Retries that were made.
    public var retries: Int
    /// Attempts that ended as lost.
    public var lost: Int
    /// Repairs by the reconciler. Any value but 0 is an alarm.
    public var repaired: Int
    /// What the logs of the queue take in Redis, in bytes.
    public var logBytes: Int
    /// Limit on ``logBytes``, in bytes. Logs of tasks that have not ended may exceed it.
    public var logBudget: Int
    /// Logs that were removed because of that limit.
    public var logsRemoved: Int
    /// How long the oldest ready or blocked task has waited since its submission.
    public var oldestPending: Duration
    /// Whether the queue is paused.
    public var isPaused: Bool
    /// The queue's instance id, made when its data is created; nil before the first write.
    public var instance: String?

    /// All pending tasks.
    public var pending: Int { ready + held + waiting + blocked }
    /// Workers that are not idle.
    public var busyWorkers: Int { totalWorkers - idleWorkers }
}

/// A registered worker.
public struct WorkerInfo: Sendable, Equatable {
    /// The worker's id.
    public var id: String
    /// How many attempts it may have at once.
    public var slots: Int
    /// Its leased attempts, and those that are ending.
    public var busy: Int
    /// The attempts that were told to end, and whose processes still run.
    public var ending = 0
    /// Whether its process takes no more work.
    public var isDraining: Bool
    /// When it was cordoned; nil if it is not.
    public var cordonedAt: Date?
    /// The labels that it registered.
    public var labels: [String]
    /// Its capacity.
    public var resources: Resources
    /// The name of its class: labels and capacity in canonical order; empty for a worker without any.
    public var workerClass: String
    /// When it registered.
    public var registeredAt: Date?
    /// When its registration ends unless it sends a heartbeat. It is then lost.
    public var expiresAt: Date?
    /// What else it registered (host, pid, version, note), and `last_assigned`: when it last got work, in µs since
    /// 1970.
    public var details: [String: String]

    /// What a worker does, in one word.
    public enum Activity: String, Sendable {
        /// It could take a task now: it has a free slot, and is neither draining nor cordoned.
        case idle
        /// All its slots are taken.
        case busy
        /// Its process takes no more work.
        case draining
        /// It gets no work until it is uncordoned.
        case cordoned
    }

    /// What the worker does. ``QueueStats/idleWorkers`` counts the idle ones.
    public var activity: Activity {
        if isDraining { return .draining }
        if cordonedAt != nil { return .cordoned }
        return busy < slots ? .idle : .busy
    }
}

/// The counts of a batch.
public struct BatchStatus: Sendable, Equatable {
    /// The batch's id.
    public var id: String
    /// How many tasks it has.
    public var total: Int
    /// Its tasks by state.
    public var counts: [TaskState: Int]
    /// When it was submitted.
    public var submittedAt: Date?
    /// When the last of its tasks ended.
    public var finishedAt: Date?

    /// The id of its latest follow-up task, once one has been submitted.
    public var followUp: String?
    /// The first 100 of its tasks that ended without success.
    public var failures: [String] = []

    /// How many of its tasks are in `state`.
    public func count(_ state: TaskState) -> Int { counts[state] ?? 0 }

    /// The fraction of its tasks that have ended, 0 to 1.
    public var progress: Double {
        let ended = TaskState.allCases.filter(\.isTerminal).reduce(0) { $0 + count($1) }
        return total > 0 ? Double(ended) / Double(total) : 1
    }
}
