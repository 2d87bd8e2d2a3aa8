import Foundation
import Logging
import NIOCore
import RedisClient

/// A handle on one queue: submits tasks, reads them and acts on them.
///
/// It can be shared and copied. All state is in Redis, so any number of handles, in any number of processes, see the
/// same queue. Every method throws ``SchedulerError``, or `CancellationError` if its Swift task is cancelled.
public struct SchedulerHandle: Sendable {
    /// The queue's name.
    public let queue: String
    /// The queue's partitions.
    public let partitions: Partitions
    /// The functions of each partition, in order.
    let functions: [QueueFunctions]
    let feeds: [ChangeFeed]
    let policy: PriorityPolicy
    let load: QueueLoad
    let announcement = Announcement()
    let replicas = ReplicasSetting()

    /// A handle on a queue with one partition.
    /// - Parameter queue: a valid ``Name``.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for an invalid name.
    public init(
        queue: String, client: RedisClient, policy: PriorityPolicy = PriorityPolicy(),
        logger: Logger = Logger(label: "switchyard.handle")
    ) throws(SchedulerError) {
        try self.init(queue: queue, partitions: Partitions(client), policy: policy, logger: logger)
    }

    /// A handle on a queue with any number of partitions.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for an invalid name.
    public init(
        queue: String, partitions: Partitions, policy: PriorityPolicy = PriorityPolicy(),
        logger: Logger = Logger(label: "switchyard.handle")
    ) throws(SchedulerError) {
        self.queue = try Name.validate(queue, field: "queue")
        self.partitions = partitions
        self.functions = partitions.functions(queue: queue, logger: logger)
        self.feeds = functions.map { ChangeFeed(functions: $0, logger: logger) }
        self.policy = policy
        self.load = QueueLoad()
    }

    // MARK: Reading

    /// Returns a task.
    /// - Throws: `taskNotFound`.
    public func getTask(_ id: String) async throws -> QueuedTask { try await locate(id).task }

    /// Returns the tasks in the order of `ids`, nil for an unknown id.
    public func getTasks(_ ids: [String]) async throws -> [QueuedTask?] { try await locate(ids).map { $0?.task } }

    /// Which tasks a list contains. A property that is nil matches all tasks.
    public struct Filter: Sendable, Equatable {
        /// The state of the tasks.
        public var state: TaskState?
        /// The priority of the tasks.
        public var priority: TaskPriority?
        /// The kind of the tasks.
        public var kind: String?
        /// The repository of the tasks.
        public var repo: String?
        /// The worker of the latest attempt.
        public var worker: String?
        /// The batch of the tasks.
        public var batch: String?
        /// A filter that matches all tasks.
        public init() {}
    }

    /// Returns the counts of a batch.
    /// - Throws: `taskNotFound` if there is no such batch.
    public func getBatch(_ id: String) async throws -> BatchStatus {
        let id = try Name.validate(id, field: "batch_id")
        let fields = try ReplyFields(await find(id) { try await $0.call("batch", ["batch", .string(id)]) })
        return BatchStatus(fields, id: id)
    }

    // MARK: Changing

    /// Cancels a task that has not ended. The worker of a live attempt is told to stop it.
    /// - Returns: the cancelled task.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it has ended).
    @discardableResult
    public func cancelTask(_ id: String, reason: String? = nil) async throws -> QueuedTask {
        try await act("cancel", on: id, reason.map { ["reason", .string($0)] } ?? []) { $0?.state == .cancelled }
        return try await getTask(id)
    }

    /// Returns a task that failed, timed out or was cancelled to its original position in line, with all its retries.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it completed, has not ended, or a dependency ended without
    ///   success), `taskExists` (another task has its unique key).
    @discardableResult
    public func retryTask(_ id: String) async throws -> QueuedTask {
        try await act("retry", on: id) { $0?.state.isTerminal == false }
        return try await getTask(id)
    }

    /// Changes the priority of a pending task. Within the new level its position follows from the time of its
    /// submission.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it is not pending).
    @discardableResult
    public func changePriority(_ id: String, to priority: TaskPriority) async throws -> QueuedTask {
        try await act("prioritize", on: id, ["priority", .string(priority.rawValue)]) { $0?.priority == priority }
        return try await getTask(id)
    }

    /// Cancels every task of a batch that has not ended. The call cancels a first part; the ticks of replicas cancel
    /// the rest in steps.
    /// - Returns: the counts of the batch after the call.
    /// - Throws: `taskNotFound` if there is no such batch.
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

    /// Calls a function on one task, in the partition that has it.
    ///
    /// If the reply to an earlier try was lost, that try may have succeeded, and the repetition is then refused. In
    /// that case the call succeeds if the task is in the state that the call leaves.
    /// - Parameter isDone: whether a task (nil: deleted) is in that state.
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
