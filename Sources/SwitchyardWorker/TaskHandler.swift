import Logging
import NIOCore
import Switchyard

/// What a worker does with a task. One value serves all slots of a worker, concurrently.
public protocol TaskHandler: Sendable {
    /// Runs one attempt to its end. When the attempt is cancelled or its time is over, the surrounding Swift task is
    /// cancelled: return soon, with nothing left running; what is returned then is dropped.
    func run(_ attempt: Attempt) async -> AttemptOutcome

    /// For attempts that need a few microseconds and no waiting: they run where the worker talks to Redis, which goes on
    /// when they have ended. Nil, which is what it is by default: `run` is called, in a task of its own.
    func runAtOnce(_ attempt: Attempt) -> AttemptOutcome?
}

extension TaskHandler {
    public func runAtOnce(_ attempt: Attempt) -> AttemptOutcome? { nil }
}

/// One attempt at a task, as its handler sees it.
public struct Attempt: Sendable {
    private let assignment: WorkerProtocol.Assignment
    private let holder: AttemptHolder
    /// Where its output goes.
    public let log: AttemptLog

    init(_ assignment: WorkerProtocol.Assignment, holder: AttemptHolder) {
        self.assignment = assignment
        self.holder = holder
        log = AttemptLog(holder: holder, taskID: assignment.id, attempt: assignment.attempt)
    }

    /// The task's id.
    public var id: String { assignment.id }
    /// The task as it was submitted. Made anew each time: keep it.
    public var task: QueuedTask { assignment.task }
    /// From 1; also the fencing token of the lease.
    public var number: Int { assignment.attempt }
    /// The time limit, which the worker enforces.
    public var timeout: Duration { assignment.timeout }
    public var workerID: String { holder.link.worker }
    public var queue: String { holder.link.functions.keys.queue }
    /// What the tasks that it depends on have answered: a JSON object of texts by task id, null where a result is longer
    /// than 4096 bytes or missing. Nil for a task without dependencies.
    public var dependencyResults: ByteBuffer? { assignment.dependencyResults }

    /// Tells how far the attempt is: at most 1024 bytes, which leave with the next heartbeat.
    public func report(progress: String) {
        holder.table.setProgress(id, attempt: number, ByteBuffer(string: String(progress.prefix(256))))
    }
}

/// What all attempts of a worker at the tasks of a queue share.
final class AttemptHolder: Sendable {
    let link: WorkerProtocol
    let table: AttemptTable
    let logger: Logger

    init(link: WorkerProtocol, table: AttemptTable, logger: Logger) {
        self.link = link
        self.table = table
        self.logger = logger
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
    public func runAtOnce(_ attempt: Attempt) -> AttemptOutcome? { .completed() }
}
