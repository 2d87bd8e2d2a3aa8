import Foundation
import Logging
import NIOCore
import RedisClient

/// One queue, for those who submit to it and follow it: the seed's handle. Safe to share and copy; it holds no state
/// but a connection, so any number of them, in any number of processes, see the same queue.
///
/// Every method throws ``SchedulerError``, or `CancellationError` when its Swift task is cancelled.
public struct SchedulerHandle: Sendable {
    public let queue: String
    public let partitions: Partitions
    /// Of each partition, in order.
    let functions: [QueueFunctions]
    let feeds: [ChangeFeed]
    let policy: PriorityPolicy
    let load: QueueLoad

    /// - Parameter queue: a valid ``Name``.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a name that is none.
    public init(
        queue: String, client: RedisClient, policy: PriorityPolicy = PriorityPolicy(),
        logger: Logger = Logger(label: "switchyard.handle")
    ) throws(SchedulerError) {
        try self.init(queue: queue, partitions: Partitions(client), policy: policy, logger: logger)
    }

    /// A queue that may be spread over several partitions.
    public init(
        queue: String, partitions: Partitions, policy: PriorityPolicy = PriorityPolicy(),
        logger: Logger = Logger(label: "switchyard.handle")
    ) throws(SchedulerError) {
        self.queue = try Name.validate(queue, field: "queue")
        self.partitions = partitions
        self.functions = partitions.functions(queue: queue, logger: logger)
        self.feeds = functions.map { ChangeFeed(keys: $0.keys, client: $0.client, logger: logger) }
        self.policy = policy
        self.load = QueueLoad()
    }

    // MARK: Looking

    /// - Throws: `taskNotFound`.
    public func getTask(_ id: String) async throws -> QueuedTask { try await locate(id).task }

    /// The tasks in the order asked for, nil where there is none.
    public func getTasks(_ ids: [String]) async throws -> [QueuedTask?] { try await locate(ids).map { $0?.task } }

    /// Which tasks a list shows. Nil matches all.
    public struct Filter: Sendable, Equatable {
        public var state: TaskState?
        public var priority: TaskPriority?
        public var repo: String?
        public var worker: String?
        public var batch: String?
        public init() {}
    }

    /// - Throws: `taskNotFound` when there is no such batch.
    public func getBatch(_ id: String) async throws -> BatchStatus {
        let id = try Name.validate(id, field: "batch_id")
        let fields = try ReplyFields(await find(id) { try await $0.call("batch", ["batch", .string(id)]) })
        var counts: [TaskState: Int] = [:]
        for state in TaskState.allCases { counts[state] = fields.optionalInt(state.rawValue) }
        return BatchStatus(
            id: id, total: fields.int("total"), counts: counts, submittedAt: fields.date("submitted_at"),
            finishedAt: fields.date("finished_at"), followUp: fields.string("follow_up"))
    }

    // MARK: Acting

    /// Ends a task that has not ended. The worker of a live attempt stops its work.
    /// - Returns: the cancelled task.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it has ended).
    @discardableResult
    public func cancelTask(_ id: String, reason: String? = nil) async throws -> QueuedTask {
        try await act("cancel", on: id, reason.map { ["reason", .string($0)] } ?? []) { $0?.state == .cancelled }
        return try await getTask(id)
    }

    /// Puts a task that failed, timed out or was cancelled back at its place in line, with all its retries.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it completed, or has not ended).
    @discardableResult
    public func retryTask(_ id: String) async throws -> QueuedTask {
        try await act("retry", on: id) { $0?.state.isTerminal == false }
        return try await getTask(id)
    }

    /// Gives a pending task another priority, in place: within its new level it stands where the time of its submission
    /// puts it.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it is not pending).
    @discardableResult
    public func changePriority(_ id: String, to priority: TaskPriority) async throws -> QueuedTask {
        try await act("prioritize", on: id, ["priority", .string(priority.rawValue)]) { $0?.priority == priority }
        return try await getTask(id)
    }

    /// Cancels every task of a batch that has not ended: a first part at once, the rest in steps, by the replicas.
    /// - Returns: the batch as it now is.
    /// - Throws: `taskNotFound` when there is no such batch.
    @discardableResult
    public func cancelBatch(_ id: String, reason: String? = nil) async throws -> BatchStatus {
        let id = try Name.validate(id, field: "batch_id")
        let arguments: [RedisArgument] = ["batch", .string(id)] + (reason.map { ["reason", .string($0)] } ?? [])
        _ = try await find(id) { try await $0.call("cancel_batch", arguments) }
        return try await getBatch(id)
    }

    /// Deletes a task that has ended, with its log.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it has not ended).
    public func purgeTask(_ id: String) async throws {
        try await act("purge", on: id) { $0 == nil }
    }

    /// Asks a worker to take no more work.
    /// - Throws: `workerNotFound`.
    public func drainWorker(_ id: String) async throws {
        let arguments: [RedisArgument] = ["worker", .string(try Name.validate(id, field: "worker"))]
        let refusals = try await all { functions in
            do {
                _ = try await functions.call("drain", arguments)
                return SchedulerError?.none
            } catch let error as SchedulerError {
                guard case .workerNotFound = error else { throw error }
                return error
            }
        }
        // It may not have come to every partition yet.
        if let refusal = refusals.first ?? nil, refusals.allSatisfy({ $0 != nil }) { throw refusal }
    }

    /// Calls a function about one task, in the partition that has it. When an earlier try's reply was lost, a refusal may be of
    /// what that try has done: then the task tells.
    /// - Parameter isDone: whether the task (nil: there is none) is as the call leaves it.
    private func act(
        _ function: String, on id: String, _ head: [RedisArgument] = [], isDone: (QueuedTask?) -> Bool
    ) async throws {
        let arguments = head + ["task", .string(try Name.validate(id, field: "task_id"))]
        try await find(id) { functions in
            let (reply, repeated) = try await functions.callNotingRepeats(function, arguments)
            guard let error = reply.array?.first?.error else { return }
            if repeated, isDone(try await taskIfAny(id)) { return }
            throw SchedulerError(error)
        }
    }

    private func taskIfAny(_ id: String) async throws -> QueuedTask? {
        do {
            return try await getTask(id)
        } catch SchedulerError.taskNotFound {
            return nil
        }
    }
}
