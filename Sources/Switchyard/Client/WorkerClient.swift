import Foundation
import Logging
import NIOCore
import RedisClient

/// The calls of a worker on one partition of a queue. `Switchyard.docc/WorkerProtocol.md` shows them in `redis-cli`.
///
/// Every method throws ``SchedulerError``, or `CancellationError`. The outcomes of single reports are returned as
/// values.
package struct WorkerClient: Sendable {
    /// The worker's id.
    package let worker: String
    /// Identifies the worker's process: a process that registers with the same id and another nonce replaces it. Nil:
    /// the process cannot be told apart from a later one with its id.
    package let nonce: String?
    /// The functions of the partition.
    package let functions: QueueFunctions

    /// A worker without a nonce.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad id or queue.
    package init(
        worker: String, queue: String, partition: Int = 0, client: RedisClient, logger: Logger
    ) throws(SchedulerError) {
        try self.init(
            worker: worker,
            functions: QueueFunctions(
                queue: try Name.validate(queue, field: "queue"), partition: partition, client: client, logger: logger))
    }

    /// A worker of the partition that `functions` call.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad id or nonce.
    package init(worker: String, nonce: String? = nil, functions: QueueFunctions) throws(SchedulerError) {
        self.worker = try Name.validate(worker, field: "worker")
        self.nonce = try nonce.map { nonce throws(SchedulerError) in try Name.validate(nonce, field: "nonce") }
        self.functions = functions
    }

    /// The arguments that identify the caller.
    private var identity: [RedisArgument] {
        ["worker", .string(worker)] + (nonce.map { ["nonce", .string($0)] } ?? [])
    }

    /// What a worker registers.
    package struct Registration: Sendable, Equatable {
        /// How many attempts it may have at once, 1 to 1000.
        package var slots: Int
        /// Its labels: `label` or `label=value`.
        package var labels: [String] = []
        /// Some of its labels: it takes only tasks that require one of these. Empty: it takes every task that it
        /// serves.
        package var only: [String] = []
        /// Its capacity, of which tasks reserve what they need.
        package var resources = Resources()
        /// The time between SIGTERM and SIGKILL for processes that are told to end. With it the worker promises to
        /// report their end, and they occupy what they had until then.
        package var grace: Duration?
        /// Its host, for people.
        package var host: String?
        /// Its process id, for people.
        package var processID: Int?
        /// Its version, for people.
        package var version: String?
        /// Why it takes no tasks for now, for people; empty: it takes tasks again. Nil leaves it as it is.
        package var note: String?

        /// A worker without labels and capacity.
        package init(slots: Int) { self.slots = slots }

        /// The cores that it offers.
        package var cpu: Double? {
            get { resources.cpu }
            set { resources.cpu = newValue }
        }

        /// The memory that it offers, in MiB.
        package var memoryMB: Int? {
            get { resources.memoryMB }
            set { resources.memoryMB = newValue }
        }
    }

    /// The intervals that a worker must keep.
    package struct Terms: Sendable, Equatable {
        /// How often it sends a heartbeat.
        package var heartbeat: Duration
        /// How long its leases and its registration last after a heartbeat.
        package var lease: Duration

        /// Intervals.
        package init(heartbeat: Duration, lease: Duration) {
            self.heartbeat = heartbeat
            self.lease = lease
        }

        /// Reads the reply to a registration or a heartbeat. An absent interval is the default, and one below a tenth
        /// of a second is raised to that: a worker must not call without pause.
        init(_ fields: ReplyFields) {
            heartbeat = max(fields.optionalDuration("heartbeat_ms") ?? SchedulerConfig().heartbeat, Self.least)
            lease = max(fields.optionalDuration("lease_ms") ?? SchedulerConfig().lease, Self.least)
        }

        private static let least: Duration = .milliseconds(100)
    }

    /// Registers the worker. Registering again, such as after a reconnect, keeps its leases. If the last registration
    /// had another nonce, the former process is replaced and its attempts are lost.
    package func register(_ registration: Registration) async throws -> Terms {
        var arguments: [RedisArgument] =
            identity + [
                "protocol", "1", "slots", .integer(Int64(registration.slots)),
                "labels", .string(registration.labels.joined(separator: ",")),
            ]
        if !registration.only.isEmpty { arguments.add("only", .string(registration.only.joined(separator: ","))) }
        try registration.resources.check(path: "resources.")
        for (name, value) in registration.resources.arguments { arguments += [.string(name), .string(value)] }
        let optional: [(String, String?)] = [
            ("grace_ms", registration.grace.map { "\(min($0, .seconds(3600)).milliseconds)" }),
            ("host", registration.host), ("pid", registration.processID.map { "\($0)" }),
            ("version", registration.version), ("note", registration.note),
        ]
        for case (let name, let value?) in optional { arguments += [.string(name), .string(value)] }
        var fields = try ReplyFields(await functions.call("register", arguments))
        // Each call ends a bounded number of the former process's attempts.
        while fields.flag("again") { fields = try ReplyFields(await functions.call("register", arguments)) }
        return Terms(fields)
    }

    /// Ends the registration. Attempts that the worker has not started return to their lines, and running attempts are
    /// lost, so a worker drains first.
    package func deregister() async throws {
        _ = try await functions.call("deregister", identity)
    }

    /// Makes it known that the worker drains.
    package func drain() async throws {
        _ = try await functions.call("drain", identity)
    }

    /// Pulls up to `max` tasks, and starts them.
    /// - Parameters:
    ///   - holding: how many attempts the worker knows of. If it has more leases, their assignments are sent again.
    ///   - together: true to prefer tasks of one group.
    ///   - maxBytes: how many bytes of fields the reply may have; nil: as many as the functions allow.
    package func pull(
        max: Int, holding: Int, together: Bool = false, maxBytes: Int? = nil
    ) async throws -> [Assignment] {
        try await finish([], pull: max, holding: holding, together: together, maxBytes: maxBytes).assignments
    }

    /// The most bytes of fields that the functions put into the reply to a pull: `REPLY_BYTES`. A larger task comes
    /// alone.
    package static let maxReplyBytes = 1 << 20

    /// The reply to reports.
    package struct Answer: Sendable {
        /// For each report, the state of its task now (nil for ``Report/Outcome/ended``), or why the report was
        /// refused.
        package var states: [Result<TaskState?, SchedulerError>]
        /// The tasks that were pulled.
        package var assignments: [Assignment]
        /// Why the pull was refused although the reports were processed: the worker is not registered.
        package var pullRefusal: SchedulerError?
        /// True if an earlier try may have been carried out and its reply was lost. The worker may then have leases
        /// that it does not know of.
        package var isRepetition: Bool
    }

    /// Reports how attempts ended, and pulls up to `pull` more in the same call. Without reports it only pulls.
    package func finish(
        _ reports: [Report], pull: Int, holding: Int, together: Bool = false, maxBytes: Int? = nil
    ) async throws -> Answer {
        var arguments = identity
        arguments.reserveCapacity(12 + 10 * reports.count)
        arguments.add(reports.isEmpty ? "max" : "pull", .integer(Int64(pull)))
        arguments.add("start", "1")
        arguments.add("holding", .integer(Int64(holding)))
        if together { arguments.add("together", "1") }
        if let maxBytes { arguments.add("max_bytes", .integer(Int64(maxBytes))) }
        for report in reports { report.write(to: &arguments) }
        if reports.isEmpty {
            let (reply, repeated) = try await functions.callNotingRepeats("pull", arguments)
            return Answer(states: [], assignments: try Self.assignments(reply), isRepetition: repeated)
        }
        let (reply, repeated) = try await functions.callNotingRepeats("finish", arguments)
        guard let lists = reply.array, lists.count == 2, let states = lists[0].array, states.count == reports.count
        else {
            throw SchedulerError.internal(message: "switchyard_finish returned an unexpected reply", redisAway: false)
        }
        return Answer(
            states: try states.map(Self.state), assignments: try Self.assignments(lists[1]),
            pullRefusal: lists[1].error.map(SchedulerError.init), isRepetition: repeated)
    }

    /// The orders in the reply to a heartbeat.
    package struct Orders: Sendable, Equatable {
        /// An attempt that the worker must stop.
        package struct Stop: Sendable, Equatable {
            /// The task's id.
            package var taskID: String
            /// The attempt's number.
            package var attempt: Int
            /// True if the task was cancelled. False if the worker has no lease of the attempt any more.
            package var isCancelled: Bool
        }
        /// The intervals that the worker must keep from now on.
        package var terms: Terms
        /// Whether the worker must take no more work.
        package var drain: Bool
        /// The number of partitions of the queue; nil if an older function library does not return it.
        package var partitions: Int?
        /// The attempts that the worker must stop at once.
        package var stop: [Stop]
        /// What the queue did not accept, for people: progress that is too long.
        package var ignored: [String] = []

        /// Reads the reply of `switchyard_heartbeat`.
        init(_ fields: ReplyFields) {
            let stop = fields["stop"]?.array ?? []
            terms = Terms(fields)
            drain = fields.flag("drain")
            partitions = fields.optionalInt("partitions")
            ignored = (fields["ignored"]?.array ?? []).compactMap(\.string)
            self.stop = stride(from: 0, to: stop.count - 2, by: 3).map { index in
                Stop(
                    taskID: stop[index].string ?? "",
                    attempt: NumberRange.any.number(stop[index + 1], field: "attempt") ?? 0,
                    isCancelled: stop[index + 2].string == "cancelled")
            }
        }
    }

    /// Limit on the tasks of one call.
    private static let maxTasksPerCall = 1000

    /// Sends a heartbeat, which renews the worker's registration and the leases of `attempts` (task id, attempt,
    /// progress or nil). For more than 1000 attempts it makes several calls.
    /// - Parameter deadline: the time limit of a single try, without a repetition; nil: as for any other call.
    package func heartbeat(
        _ attempts: [(taskID: String, attempt: Int, progress: ByteBuffer?)], deadline: Duration? = nil
    ) async throws -> Orders {
        var orders = try await heartbeatOnce(attempts.prefix(Self.maxTasksPerCall), deadline)
        var rest = attempts.dropFirst(Self.maxTasksPerCall)
        while !rest.isEmpty {
            let more = try await heartbeatOnce(rest.prefix(Self.maxTasksPerCall), deadline)
            orders.stop += more.stop
            orders.ignored += more.ignored
            rest = rest.dropFirst(Self.maxTasksPerCall)
        }
        return orders
    }

    private func heartbeatOnce(
        _ attempts: ArraySlice<(taskID: String, attempt: Int, progress: ByteBuffer?)>, _ deadline: Duration?
    ) async throws -> Orders {
        var arguments = identity
        for attempt in attempts {
            arguments += ["task", .string(attempt.taskID), "attempt", .integer(Int64(attempt.attempt))]
            if let progress = attempt.progress { arguments += ["progress", .buffer(progress)] }
        }
        let fields = try ReplyFields(
            await functions.call("heartbeat", arguments, onceWithin: deadline, traffic: .urgent))
        return Orders(fields)
    }

    /// Appends output to the task's log. `stream` is stdout or stderr. A piece has at most 65,536 bytes.
    /// - Parameters:
    ///   - missingBytes: how much output was lost before the first piece.
    ///   - grace: how long an attempt may take to end, at most an hour. So long, and a lease, after the end of the
    ///     task's latest attempt its output is still accepted.
    /// - Throws: `invalidStateTransition` if the attempt has ended longer ago, or is not the task's latest one.
    package func log(
        taskID: String, attempt: Int, missingBytes: Int = 0, grace: Duration = .seconds(10),
        _ pieces: [(stream: String, data: ByteBuffer)]
    ) async throws {
        var arguments: [RedisArgument] =
            identity + [
                "grace_ms", .integer(Int64(min(grace, .seconds(3600)).milliseconds)),
                "missing_bytes", .integer(Int64(missingBytes)), "task", .string(taskID),
                "attempt", .integer(Int64(attempt)),
            ]
        for piece in pieces { arguments += [.string(piece.stream), .buffer(piece.data)] }
        _ = try await functions.call("log", arguments)
    }

    /// Returns an attempt to the queue that this host cannot run. No retry of the task is used up, but the return
    /// counts as a delivery.
    /// - Parameter reason: why, for people.
    /// - Returns: the state of the task: `pending`, or `failed` after too many deliveries.
    package func handBack(taskID: String, attempt: Int, reason: String) async throws -> TaskState {
        let reply = try await functions.call(
            "release",
            identity + [
                "reason", .string(reason), "task", .string(taskID), "attempt", .integer(Int64(attempt)),
            ])
        guard let first = reply.array?.first, let state = try Self.state(first).get() else {
            throw SchedulerError.internal(message: "switchyard_release returned \(reply)", redisAway: false)
        }
        return state
    }

    /// Returns an attempt to the queue because this worker drains and has ended its process. Nothing is counted.
    package func handBackDrained(taskID: String, attempt: Int) async throws {
        let reply = try await functions.call(
            "release",
            identity + ["drain", "1", "task", .string(taskID), "attempt", .integer(Int64(attempt))])
        if let refusal = reply.array?.first?.error { throw SchedulerError(refusal) }
    }

    /// Waits for a wake-up, at most for `timeout`.
    /// - Returns: whether one came.
    @discardableResult
    package func waitForWakeUp(timeout: Duration) async throws -> Bool {
        let seconds = String(format: "%.3f", timeout.seconds)
        let reply = try await functions.client.sendBlocking(
            RedisCommand("BLPOP", .string(functions.keys.wake(worker)), .string(seconds)), timeout: timeout)
        return !reply.isNull
    }

    /// The reply to the pull after a sleep.
    package struct Awakening: Sendable {
        /// The tasks that were pulled.
        package var assignments: [Assignment]
        /// Why the pull was refused.
        package var refusal: SchedulerError?
    }

    /// Sleeps as ``waitForWakeUp(timeout:)`` does, and pulls in the same round trip. Redis keeps the pull behind the
    /// blocking pop and runs it when the sleep ends, so a task is started before the worker learns of it.
    ///
    /// The pull has no `holding`: the number may change during the sleep, and the queue would then send attempts again
    /// that the worker knows of. So if the reply is lost, a ``pull(max:holding:together:maxBytes:)`` must follow.
    /// - Parameters:
    ///   - max: the most tasks to pull: the slots that are free when the sleep begins.
    ///   - together: true to prefer tasks of one group.
    ///   - maxBytes: as for ``pull(max:holding:together:maxBytes:)``.
    package func sleepAndPull(
        timeout: Duration, max: Int, together: Bool = false, maxBytes: Int? = nil
    ) async throws -> Awakening {
        var arguments: [RedisArgument] =
            ["switchyard_pull"] + functions.keys.declared + identity + [
                "max", .integer(Int64(max)), "start", "1",
            ]
        if together { arguments.add("together", "1") }
        if let maxBytes { arguments.add("max_bytes", .integer(Int64(maxBytes))) }
        let seconds = String(format: "%.3f", timeout.seconds)
        let replies = try await functions.client.sendBlocking(
            [
                RedisCommand("BLPOP", .string(functions.keys.wake(worker)), .string(seconds)),
                RedisCommand("FCALL", arguments),
            ], timeout: timeout)
        guard replies.count == 2 else {
            throw SchedulerError.internal(message: "Redis replied to \(replies.count) of 2 commands", redisAway: false)
        }
        if let error = replies[1].error { return Awakening(assignments: [], refusal: SchedulerError(error)) }
        return Awakening(assignments: try Self.assignments(replies[1]))
    }

    private static func state(_ reply: RESPValue) throws -> Result<TaskState?, SchedulerError> {
        if reply.isText("completed") { return .success(.completed) }
        if reply.isText("ended") { return .success(nil) }
        if let error = reply.error { return .failure(SchedulerError(error)) }
        guard let state = reply.string.flatMap(TaskState.init) else {
            throw SchedulerError.internal(message: "switchyard_finish returned \(reply) for a task", redisAway: false)
        }
        return .success(state)
    }

    private static func assignments(_ reply: RESPValue) throws -> [Assignment] {
        try (reply.array ?? []).map { try Assignment($0) }
    }
}

extension [RedisArgument] {
    /// Appends a name and its value.
    mutating func add(_ name: String, _ value: RedisArgument) {
        append(.string(name))
        append(value)
    }
}
