import NIOCore
import Switchyard

/// What a worker does with a task. One value serves all slots of a worker, concurrently.
public protocol TaskHandler: Sendable {
    /// Runs one attempt to its end. When the attempt is cancelled or its time is over, the surrounding Swift task is
    /// cancelled: return soon, with nothing left running; what is returned then is dropped.
    func run(_ attempt: Attempt) async -> AttemptOutcome
}

/// One attempt at a task, as its handler sees it.
public struct Attempt: Sendable {
    public let task: QueuedTask
    /// From 1; also the fencing token of the lease.
    public let number: Int
    /// The time limit, which the worker enforces.
    public let timeout: Duration
    public let workerID: String
    public let queue: String
    /// What the tasks that it depends on have answered: a JSON object of texts by task id, null where a result is longer
    /// than 4096 bytes or missing. Nil for a task without dependencies.
    public let dependencyResults: ByteBuffer?
    /// Where its output goes.
    public let log: AttemptLog
    let table: AttemptTable

    /// Tells how far the attempt is: at most 1024 bytes, which leave with the next heartbeat.
    public func report(progress: String) {
        table.setProgress(task.id, attempt: number, ByteBuffer(string: String(progress.prefix(256))))
    }
}

/// How an attempt ended.
public enum AttemptOutcome: Sendable, Equatable {
    /// `result`: opaque bytes, kept with the task.
    case completed(result: ByteBuffer? = nil, exitCode: Int? = nil)
    /// `isRetryable` false: no retry, whatever is left.
    case failed(TaskFailure, result: ByteBuffer? = nil, exitCode: Int? = nil, isRetryable: Bool = true)
}

/// Does nothing, at once: for measuring.
public struct NoOpHandler: TaskHandler {
    public init() {}
    public func run(_ attempt: Attempt) async -> AttemptOutcome { .completed() }
}
