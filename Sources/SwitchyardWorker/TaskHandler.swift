import Logging
import NIOCore
import Switchyard

/// Runs the attempts of a worker. One value serves all slots of the worker, concurrently.
public protocol TaskHandler: Sendable {
    /// Runs one attempt and returns its outcome.
    ///
    /// When the attempt is cancelled or its time limit is over, the surrounding Swift task is cancelled. Then return
    /// soon, with nothing left running; the returned outcome is dropped.
    func run(_ attempt: Attempt) async -> AttemptOutcome

    /// Runs an attempt in place, or returns nil to have `run` called in a Swift task of its own. Returns nil by
    /// default.
    ///
    /// Return an outcome only for an attempt that takes a few microseconds and does not wait: the loop that calls Redis
    /// runs it, and continues only when it has ended. Such an attempt cannot be cancelled and has no time limit.
    func runAtOnce(_ attempt: Attempt) -> AttemptOutcome?

    /// How long an attempt may take to end after it was cancelled or its time limit was over, 10 s by default. Its
    /// output is written to the log until then.
    var timeToEnd: Duration { get }
    /// How long an attempt may need to end after its Swift task was cancelled: 1 s by default. A worker that is cut off
    /// from Redis cancels attempts so long before their leases end.
    var grace: Duration { get }
}

extension TaskHandler {
    /// Returns nil: the worker calls `run`.
    public func runAtOnce(_ attempt: Attempt) -> AttemptOutcome? { nil }
    /// Returns 10 s.
    public var timeToEnd: Duration { .seconds(10) }
    /// One second.
    public var grace: Duration { .seconds(1) }
}

/// One attempt at a task, as passed to its handler.
public struct Attempt: Sendable {
    private let assignment: WorkerClient.Assignment
    private let holder: AttemptHolder
    /// Appends output to the task's log.
    public let log: AttemptLog

    init(_ assignment: WorkerClient.Assignment, holder: AttemptHolder) {
        self.assignment = assignment
        self.holder = holder
        log = AttemptLog(holder: holder, taskID: assignment.id, attempt: assignment.attempt)
    }

    /// The task's id.
    public var id: String { assignment.id }
    /// The task as it was submitted. Decoded on each access; store the value.
    public var task: QueuedTask { assignment.task }
    /// The number of the attempt, from 1; also the fencing token of the lease.
    public var number: Int { assignment.attempt }
    /// The time limit, which the worker enforces.
    public var timeout: Duration { assignment.timeout }
    /// The id of the worker that runs the attempt.
    public var workerID: String { holder.link.worker }
    /// The queue's name.
    public var queue: String { holder.link.functions.keys.queue }
    /// How long the attempt may take to end now that it was told to: the task's own grace, or `standard`, that of the
    /// worker. If the worker is cut off from Redis, it may not take longer than `standard`.
    func grace(orWorkers standard: Duration) -> Duration {
        guard let own = assignment.grace else { return standard }
        return holder.table.stopReason(of: self) == .leaseOver ? min(own, standard) : own
    }
    /// The worker's logger.
    var logger: Logger { holder.logger }
    /// The results of the tasks that this task depends on: a JSON object of texts by task id. Nil for a task without
    /// dependencies.
    ///
    /// A value is null if that task has no result, or if the result is too long to be sent along: more than 4096 bytes,
    /// or beyond the bound on all results of the assignment.
    public var dependencyResults: ByteBuffer? { assignment.dependencyResults }

    /// Sets the attempt's progress, which the next heartbeat sends.
    ///
    /// The first 1024 bytes of it are kept, up to the last whole character.
    public func report(progress: String) {
        holder.table.setProgress(id, attempt: number, ByteBuffer(string: progress.prefix(maxBytes: 1024)))
    }
}

/// What all attempts of a worker at the tasks of a queue, or of one partition of it, have in common.
final class AttemptHolder: Sendable {
    let link: WorkerClient
    let table: AttemptTable
    let logger: Logger
    let timeToEnd: Duration

    init(link: WorkerClient, table: AttemptTable, logger: Logger, timeToEnd: Duration = .seconds(10)) {
        self.link = link
        self.table = table
        self.logger = logger
        self.timeToEnd = timeToEnd
    }
}

/// How an attempt ended.
public enum AttemptOutcome: Sendable, Equatable {
    /// The attempt succeeded. `result` is opaque bytes, stored with the task.
    case completed(result: ByteBuffer? = nil, exitCode: Int? = nil)
    /// The attempt failed. If `isRetryable` is false, the task is not retried, even if it has retries left.
    /// `retryAfter` is the delay of the retry, in place of the queue's backoff.
    case failed(
        TaskFailure, result: ByteBuffer? = nil, exitCode: Int? = nil, isRetryable: Bool = true,
        retryAfter: Duration? = nil)
    /// The host cannot run the attempt now, which is not the task's fault. The task returns to the queue for another
    /// worker and uses up no retry. A worker that returns five attempts in a row takes no tasks for a while.
    case handedBack(reason: String)
}

/// Completes every attempt at once, for benchmarks.
public struct NoOpHandler: TaskHandler {
    /// Creates a handler.
    public init() {}
    /// Returns `completed`.
    public func run(_ attempt: Attempt) async -> AttemptOutcome { .completed() }
    /// Returns `completed`, in place.
    public func runAtOnce(_ attempt: Attempt) -> AttemptOutcome? { .completed() }
}

extension String {
    /// Returns the longest beginning of whole characters that has at most `maxBytes` in UTF-8.
    func prefix(maxBytes: Int) -> String {
        if utf8.count <= maxBytes { return self }
        var bytes = 0
        return String(
            prefix { character in
                bytes += character.utf8.count
                return bytes <= maxBytes
            })
    }
}
