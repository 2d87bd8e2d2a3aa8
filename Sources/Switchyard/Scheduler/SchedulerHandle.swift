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
    let functions: QueueFunctions
    let feed: ChangeFeed
    let policy: PriorityPolicy
    let load: QueueLoad

    /// - Parameter queue: a valid ``Name``.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a name that is none.
    public init(
        queue: String, client: RedisClient, policy: PriorityPolicy = PriorityPolicy(),
        logger: Logger = Logger(label: "switchyard.handle")
    ) throws(SchedulerError) {
        self.queue = try Name.validate(queue, field: "queue")
        self.functions = QueueFunctions(queue: queue, client: client, logger: logger)
        self.feed = ChangeFeed(keys: functions.keys, client: client, logger: logger)
        self.policy = policy
        self.load = QueueLoad()
    }

    // MARK: Looking

    /// - Throws: `taskNotFound`.
    public func getTask(_ id: String) async throws -> QueuedTask {
        guard let task = try await getTasks([id]).first ?? nil else {
            throw SchedulerError.taskNotFound(
                message: "task \(id) does not exist in queue \(queue), or was deleted after its retention")
        }
        return task
    }

    /// The tasks in the order asked for, nil where there is none.
    public func getTasks(_ ids: [String]) async throws -> [QueuedTask?] {
        var arguments: [RedisArgument] = []
        for id in ids { arguments += ["task", .string(try Name.validate(id, field: "task_id"))] }
        let reply = try await functions.call("get", arguments)
        return try (reply.array ?? []).map { $0.isNull ? nil : try QueuedTask(ReplyFields($0)) }
    }

    /// Which tasks a list shows. Nil matches all.
    public struct Filter: Sendable, Equatable {
        public var state: TaskState?
        public var priority: TaskPriority?
        public var repo: String?
        public var worker: String?
        public var batch: String?
        public init() {}
    }

    /// A page: running and assigned tasks first, then those in line, those held, and the ended, latest first.
    /// - Parameters:
    ///   - limit: 1 to 500.
    ///   - cursor: of the page before; nil for the first.
    /// - Returns: the tasks, and the cursor of the next page unless this was the last. A page may be short.
    public func listTasks(
        _ filter: Filter = Filter(), limit: Int = 50, cursor: String? = nil
    ) async throws -> (tasks: [QueuedTask], cursor: String?) {
        var arguments: [RedisArgument] = ["limit", .integer(Int64(limit))]
        let filters = [
            ("state", filter.state?.rawValue), ("priority", filter.priority?.rawValue), ("repo", filter.repo),
            ("worker", filter.worker), ("batch", filter.batch), ("cursor", cursor),
        ]
        for case (let name, let value?) in filters { arguments += [.string(name), .string(value)] }
        let page = try await functions.call("list", arguments).array ?? []
        guard page.count == 2, let next = page[0].string, let tasks = page[1].array else {
            throw SchedulerError.internal(
                message: "switchyard_list answered something else than a page", redisAway: false)
        }
        return (try tasks.map { try QueuedTask(ReplyFields($0)) }, next.isEmpty ? nil : next)
    }

    /// - Throws: `taskNotFound` when there is no such batch.
    public func getBatch(_ id: String) async throws -> BatchStatus {
        let id = try Name.validate(id, field: "batch_id")
        let fields = try ReplyFields(await functions.call("batch", ["batch", .string(id)]))
        var counts: [TaskState: Int] = [:]
        for state in TaskState.allCases { counts[state] = fields.optionalInt(state.rawValue) }
        return BatchStatus(
            id: id, total: fields.int("total"), counts: counts, submittedAt: fields.date("submitted_at"),
            finishedAt: fields.date("finished_at"), followUp: fields.string("follow_up"))
    }

    public func getStats() async throws -> QueueStats {
        let fields = try ReplyFields(await functions.call("stats", []))
        let oldest = fields.date("oldest_pending_at").map { (fields.date("now") ?? $0).timeIntervalSince($0) } ?? 0
        return QueueStats(
            queue: queue, ready: fields.int("pending"), held: fields.int("held"),
            waiting: fields.int("waiting"), blocked: fields.int("blocked"), unroutable: fields.int("unroutable"),
            assigned: fields.int("assigned"), running: fields.int("running"), completed: fields.int("completed"),
            failed: fields.int("failed"),
            timeout: fields.int("timeout"), cancelled: fields.int("cancelled"),
            readyByPriority: Dictionary(
                uniqueKeysWithValues: TaskPriority.allCases.map { ($0, fields.int("pending_\($0.rawValue)")) }),
            totalWorkers: fields.int("workers"), idleWorkers: fields.int("idle_workers"), slots: fields.int("slots"),
            queueFullErrors: fields.int("queue_full_errors"), retries: fields.int("retries"), lost: fields.int("lost"),
            repaired: fields.int("repaired"), oldestPending: .milliseconds(Int(oldest * 1000)),
            isPaused: fields.flag("paused"),
            instance: fields.string("instance").flatMap { $0.isEmpty ? nil : $0 })
    }

    public func getWorkers() async throws -> [WorkerInfo] {
        try (await functions.call("workers", []).array ?? []).map { reply in
            let fields = try ReplyFields(reply)
            var details: [String: String] = [:]
            for name in ["host", "pid", "version", "last_assigned"] {
                details[name] = fields.string(name)
            }
            return WorkerInfo(
                id: fields.string("id") ?? "", slots: fields.int("slots"), busy: fields.int("busy"),
                isDraining: fields.flag("draining"),
                labels: fields.words("labels"), resources: Resources(fields),
                workerClass: fields.string("class") ?? "", registeredAt: fields.date("registered_at"),
                expiresAt: fields.date("expires_at"), details: details)
        }
    }

    /// Why a task does not run.
    /// - Throws: `taskNotFound`.
    public func explain(_ id: String) async throws -> Explanation {
        let reply = try await functions.call("explain", ["task", .string(try Name.validate(id, field: "task_id"))])
        guard let entries = reply.array, let state = entries.first?.string.flatMap(TaskState.init) else {
            throw SchedulerError.internal(message: "switchyard_explain answered \(reply)", redisAway: false)
        }
        let reasons = try entries.dropFirst().map { entry in
            let fields = try ReplyFields(entry)
            var details: [String: String] = [:]
            for name in fields.names where name != "code" && name != "message" {
                details[name] = fields.string(name) ?? fields.optionalInt(name).map(String.init)
            }
            return Explanation.Reason(
                code: fields.string("code") ?? "", message: fields.string("message") ?? "", details: details)
        }
        return Explanation(id: id, state: state, reasons: reasons)
    }

    // MARK: Acting

    /// Ends a task that has not ended. The worker of a live attempt stops its work.
    /// - Returns: the cancelled task.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it has ended).
    @discardableResult
    public func cancelTask(_ id: String, reason: String? = nil) async throws -> QueuedTask {
        var arguments: [RedisArgument] = reason.map { ["reason", .string($0)] } ?? []
        arguments += ["task", .string(try Name.validate(id, field: "task_id"))]
        try await act("cancel", arguments, repetitionSays: "is cancelled")
        return try await getTask(id)
    }

    /// Puts a task that failed, timed out or was cancelled back at its place in line, with all its retries.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it completed, or has not ended).
    @discardableResult
    public func retryTask(_ id: String) async throws -> QueuedTask {
        try await act(
            "retry", ["task", .string(try Name.validate(id, field: "task_id"))], repetitionSays: "is pending")
        return try await getTask(id)
    }

    /// Gives a pending task another priority, in place: within its new level it stands where the time of its submission
    /// puts it.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it is not pending).
    @discardableResult
    public func changePriority(_ id: String, to priority: TaskPriority) async throws -> QueuedTask {
        try await act(
            "prioritize",
            ["priority", .string(priority.rawValue), "task", .string(try Name.validate(id, field: "task_id"))],
            repetitionSays: "")
        return try await getTask(id)
    }

    /// Cancels every task of a batch that has not ended: a first part at once, the rest in steps, by the replicas.
    /// - Returns: the batch as it now is.
    /// - Throws: `taskNotFound` when there is no such batch.
    @discardableResult
    public func cancelBatch(_ id: String, reason: String? = nil) async throws -> BatchStatus {
        var arguments: [RedisArgument] = ["batch", .string(try Name.validate(id, field: "batch_id"))]
        if let reason { arguments += ["reason", .string(reason)] }
        _ = try await functions.call("cancel_batch", arguments)
        return try await getBatch(id)
    }

    /// Deletes a task that has ended, with its log.
    /// - Throws: `taskNotFound`, `invalidStateTransition` (it has not ended).
    public func purgeTask(_ id: String) async throws {
        try await act("purge", ["task", .string(try Name.validate(id, field: "task_id"))], repetitionSays: "")
    }

    /// Asks a worker to take no more work.
    /// - Throws: `workerNotFound`.
    public func drainWorker(_ id: String) async throws {
        _ = try await functions.call("drain", ["worker", .string(try Name.validate(id, field: "worker"))])
    }

    /// Calls a function about one task. When an earlier try's reply was lost and the task is now as this call would
    /// have left it, the call has succeeded.
    private func act(_ function: String, _ arguments: [RedisArgument], repetitionSays done: String) async throws {
        let (reply, repeated) = try await functions.callNotingRepeats(function, arguments)
        guard let error = reply.array?.first?.error else { return }
        if repeated, error.message.contains(done) || done.isEmpty { return }
        throw SchedulerError(error)
    }
}
