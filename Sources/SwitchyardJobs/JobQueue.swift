import Foundation
import Logging
import RedisClient
import ServiceLifecycle
import Switchyard
import Tracing

/// A queue of typed jobs: submits them, and waits for their results.
///
/// It has a connection to Redis of its own, which ends with its last copy. Every replica on the same Redis looks after
/// the queue from the first ``JobQueue`` on.
public struct JobQueue: Sendable {
    /// The same queue, untyped.
    public let handle: SchedulerHandle
    public let client: RedisClient
    public let coder: any JobCoder
    let logger: Logger

    /// Connects, and sees that Redis has the function library and that replicas know of the queue.
    /// - Parameters:
    ///   - name: 1 to 200 characters of `A-Z a-z 0-9 . _ : -`.
    ///   - redis: `redis://[user:password@]host[:port][/database]`, `rediss://…` or `unix:///path`.
    /// - Throws: ``Switchyard/SchedulerError``; `RedisError` for a URL that is none.
    public init(
        _ name: String, redis url: String, coder: any JobCoder = JSONJobCoder(),
        logger: Logger = Logger(label: "switchyard.jobs")
    ) async throws {
        try await self.init(name, client: RedisClient(RedisConfiguration(url: url)), coder: coder, logger: logger)
    }

    /// As ``init(_:redis:coder:logger:)``, on a client that is shared.
    public init(
        _ name: String, client: RedisClient, coder: any JobCoder = JSONJobCoder(),
        logger: Logger = Logger(label: "switchyard.jobs")
    ) async throws {
        self.client = client
        self.coder = coder
        self.logger = logger
        handle = try SchedulerHandle(queue: name, client: client, logger: logger)
        try await handle.announce()
    }

    /// The queue's name.
    public var name: String { handle.queue }

    // MARK: Submitting

    /// Submits a job. The call itself repeats safely after a lost reply; use ``JobOption/id(_:)`` or
    /// ``JobOption/unique(by:for:)`` where the caller may repeat it.
    /// - Returns: its id; with a unique key that is taken, that of the job which has the key.
    /// - Throws: ``Switchyard/SchedulerError``: `queueFull`, `queueDraining`, `taskExists`, `invalidInput`; what the
    ///   coder throws.
    @discardableResult
    public func submit<J: Job>(_ job: J, _ options: JobOption...) async throws -> JobID<J> {
        JobID(try await handle.addTask(task(job, options)).task.id)
    }

    /// Submits jobs in one call: all of them, or none.
    /// - Returns: their ids in order.
    @discardableResult
    public func submit<J: Job>(_ jobs: [J], _ options: JobOption...) async throws -> [JobID<J>] {
        if jobs.isEmpty { return [] }
        let added = try await handle.addTasks(jobs.map { try task($0, options) })
        return added.map { JobID($0.task.id) }
    }

    /// The task that a job is in the queue.
    private func task<J: Job>(_ job: J, _ options: [JobOption]) throws -> QueuedTask {
        var request = BuildRequest()
        request.kind = try Name.validate(J.kind, field: "kind")
        request.payload = try coder.encode(job)
        request.traceparent = TraceParent.current
        var task = QueuedTask(request, priority: .normal)
        for option in options { option.apply(&task) }
        task.scheduling.requires.append(JobKind.label(J.kind))
        return task
    }

    // MARK: Following

    /// Waits until the job has ended, and returns its result.
    /// - Throws: ``JobFailure`` if it ended without success; `taskNotFound` when there is no such job, or its retention
    ///   is over; `CancellationError`.
    public func result<J: Job>(of id: JobID<J>) async throws -> J.Result {
        while true {
            let task = try await handle.waitForTask(id.taskID, timeout: .seconds(600)) { $0.state.isTerminal }
            if task.state.isTerminal { return try value(J.self, of: task) }
        }
    }

    /// The result, or nil if the job has not ended.
    /// - Throws: as ``result(of:)``.
    public func resultIfEnded<J: Job>(of id: JobID<J>) async throws -> J.Result? {
        let task = try await handle.getTask(id.taskID)
        return task.state.isTerminal ? try value(J.self, of: task) : nil
    }

    /// The job's state, attempts, times and progress.
    /// - Throws: `taskNotFound`.
    public func status<J: Job>(of id: JobID<J>) async throws -> QueuedTask { try await handle.getTask(id.taskID) }

    /// Ends a job that has not ended; its handler's Swift task is cancelled.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it has ended).
    public func cancel<J: Job>(_ id: JobID<J>, reason: String? = nil) async throws {
        try await handle.cancelTask(id.taskID, reason: reason)
    }

    private func value<J: Job>(_ type: J.Type, of task: QueuedTask) throws -> J.Result {
        let failure = task.failure ?? TaskFailure(code: "Failed", message: "no reason is recorded")
        switch task.state {
        case .failed: throw JobFailure.failed(failure, attempts: task.attempts.count)
        case .timeout: throw JobFailure.timedOut(failure, attempts: task.attempts.count)
        case .cancelled: throw JobFailure.cancelled(reason: failure.message)
        default: break
        }
        if let none = NoResult() as? J.Result { return none }
        guard let bytes = task.result else { throw JobFailure.unreadableResult("job \(task.id) has none") }
        do {
            return try coder.decode(J.Result.self, from: bytes)
        } catch {
            throw JobFailure.unreadableResult("job \(task.id): \(error)")
        }
    }
}

/// Which workers get a job: those with a label for its kind.
enum JobKind {
    static func label(_ kind: String) -> String { "kind:\(kind)" }
}
