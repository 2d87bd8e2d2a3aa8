import Foundation
import Logging
import NIOCore
import RedisClient

/// The worker's side of a queue, typed: what `Switchyard.docc/WorkerProtocol.md` tells in `redis-cli`.
///
/// Every method throws ``SchedulerError``, or `CancellationError`; answers about single tasks are values.
public struct WorkerProtocol: Sendable {
    public let worker: String
    /// Of the process that speaks: another process that registers with the same id and another nonce replaces it. Nil: it
    /// cannot be told apart from a later process with its id.
    public let nonce: String?
    public let functions: QueueFunctions

    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad id or queue.
    public init(
        worker: String, queue: String, partition: Int = 0, client: RedisClient, logger: Logger
    ) throws(SchedulerError) {
        try self.init(
            worker: worker,
            functions: QueueFunctions(
                queue: try Name.validate(queue, field: "queue"), partition: partition, client: client, logger: logger))
    }

    public init(worker: String, nonce: String? = nil, functions: QueueFunctions) throws(SchedulerError) {
        self.worker = try Name.validate(worker, field: "worker")
        self.nonce = try nonce.map { nonce throws(SchedulerError) in try Name.validate(nonce, field: "nonce") }
        self.functions = functions
    }

    /// The pairs that say who calls.
    private var identity: [RedisArgument] {
        ["worker", .string(worker)] + (nonce.map { ["nonce", .string($0)] } ?? [])
    }

    /// What a worker tells of itself. `slots`: 1 to 1000 attempts at once.
    public struct Registration: Sendable, Equatable {
        public var slots: Int
        public var labels: [String] = []
        /// Labels of it: it takes only tasks that require one of these. Empty: it takes all that it serves.
        public var only: [String] = []
        /// What it offers to the tasks that ask for some of it.
        public var resources = Resources()
        public var host: String?
        public var processID: Int?
        public var version: String?

        public init(slots: Int) { self.slots = slots }

        /// Cores that it offers.
        public var cpu: Double? {
            get { resources.cpu }
            set { resources.cpu = newValue }
        }

        /// MiB that it offers.
        public var memoryMB: Int? {
            get { resources.memoryMB }
            set { resources.memoryMB = newValue }
        }
    }

    /// What the queue expects of it.
    public struct Terms: Sendable, Equatable {
        public var heartbeat: Duration
        public var lease: Duration
    }

    /// Makes the worker known; also after a reconnect, which changes nothing that it holds. What a former process of the same
    /// id and another nonce held is lost.
    public func register(_ registration: Registration) async throws -> Terms {
        var arguments: [RedisArgument] =
            identity + [
                "protocol", "1", "slots", .integer(Int64(registration.slots)),
                "labels", .string(registration.labels.joined(separator: ",")),
            ]
        if !registration.only.isEmpty { arguments.add("only", .string(registration.only.joined(separator: ","))) }
        try registration.resources.check(path: "resources.")
        for (name, value) in registration.resources.arguments { arguments += [.string(name), .string(value)] }
        let optional: [(String, String?)] = [
            ("host", registration.host), ("pid", registration.processID.map { "\($0)" }),
            ("version", registration.version),
        ]
        for case (let name, let value?) in optional { arguments += [.string(name), .string(value)] }
        var fields = try ReplyFields(await functions.call("register", arguments))
        // One call ends a bounded number of the attempts of a former process.
        while fields.flag("again") { fields = try ReplyFields(await functions.call("register", arguments)) }
        return Terms(heartbeat: fields.duration("heartbeat_ms"), lease: fields.duration("lease_ms"))
    }

    /// Leaves. What it still holds is lost at once, so a worker drains first.
    public func deregister() async throws {
        _ = try await functions.call("deregister", identity)
    }

    /// Up to `max` tasks, started.
    /// - Parameters:
    ///   - holding: how many attempts the worker knows of.
    ///   - together: by preference tasks of one group.
    public func pull(max: Int, holding: Int, together: Bool = false) async throws -> [Assignment] {
        try await finish([], pull: max, holding: holding, together: together).assignments
    }

    /// How an attempt ended.
    public struct Report: Sendable, Equatable {
        public enum Outcome: String, Sendable { case completed, failed, timeout }
        public var taskID: String
        public var attempt: Int
        public var outcome: Outcome
        /// Opaque bytes.
        public var result: ByteBuffer?
        public var failure: TaskFailure?
        public var exitCode: Int?
        /// False: no retry, whatever is left.
        public var isRetryable = true

        public init(taskID: String, attempt: Int, outcome: Outcome) {
            self.taskID = taskID
            self.attempt = attempt
            self.outcome = outcome
        }
    }

    /// The answer to reports.
    public struct Answer: Sendable {
        /// For each report the state its task is in now, or why it was refused.
        public var states: [Result<TaskState, SchedulerError>]
        public var assignments: [Assignment]
        /// Why nothing could be pulled although the reports were taken: the worker is not registered.
        public var pullRefusal: SchedulerError?
        /// An earlier try may have been carried out without its reply arriving: what it assigned may be unknown.
        public var isRepetition: Bool
    }

    /// Reports how attempts ended, and pulls up to `pull` more in the same call. Without reports it only pulls.
    public func finish(
        _ reports: [Report], pull: Int, holding: Int, together: Bool = false
    ) async throws -> Answer {
        var arguments = identity
        arguments.reserveCapacity(12 + 10 * reports.count)
        arguments.add(reports.isEmpty ? "max" : "pull", .integer(Int64(pull)))
        arguments.add("start", "1")
        arguments.add("holding", .integer(Int64(holding)))
        if together { arguments.add("together", "1") }
        for report in reports { report.write(to: &arguments) }
        if reports.isEmpty {
            let (reply, repeated) = try await functions.callNotingRepeats("pull", arguments)
            return Answer(states: [], assignments: try Self.assignments(reply), isRepetition: repeated)
        }
        let (reply, repeated) = try await functions.callNotingRepeats("finish", arguments)
        guard let lists = reply.array, lists.count == 2, let states = lists[0].array, states.count == reports.count
        else {
            throw SchedulerError.internal(message: "switchyard_finish answered something unexpected", redisAway: false)
        }
        return Answer(
            states: try states.map(Self.state), assignments: try Self.assignments(lists[1]),
            pullRefusal: lists[1].error.map(SchedulerError.init), isRepetition: repeated)
    }

    /// What a heartbeat's reply asks for.
    public struct Orders: Sendable, Equatable {
        public struct Stop: Sendable, Equatable {
            public var taskID: String
            public var attempt: Int
            public var isCancelled: Bool
        }
        public var terms: Terms
        public var drain: Bool
        /// How many the queue has; nil: an older function library does not say.
        public var partitions: Int?
        /// Attempts to end at once: cancelled, or no longer this worker's.
        public var stop: [Stop]
    }

    /// Lives, and renews the leases of `attempts` (task id, attempt, progress or nil).
    public func heartbeat(
        _ attempts: [(taskID: String, attempt: Int, progress: ByteBuffer?)]
    ) async throws -> Orders {
        var arguments = identity
        for attempt in attempts {
            arguments += ["task", .string(attempt.taskID), "attempt", .integer(Int64(attempt.attempt))]
            if let progress = attempt.progress { arguments += ["progress", .buffer(progress)] }
        }
        let fields = try ReplyFields(await functions.call("heartbeat", arguments))
        let stop = fields["stop"]?.array ?? []
        return Orders(
            terms: Terms(heartbeat: fields.duration("heartbeat_ms"), lease: fields.duration("lease_ms")),
            drain: fields.flag("drain"), partitions: fields.optionalInt("partitions"),
            stop: stride(from: 0, to: stop.count - 2, by: 3).map { index in
                Orders.Stop(
                    taskID: stop[index].string ?? "", attempt: Int(stop[index + 1].int ?? 0),
                    isCancelled: stop[index + 2].string == "cancelled")
            })
    }

    /// Appends output to the task's log. `stream` is stdout or stderr; at most 65,536 bytes a piece.
    /// - Throws: `invalidStateTransition` when the attempt no longer holds its lease.
    public func log(
        taskID: String, attempt: Int, _ pieces: [(stream: String, data: ByteBuffer)]
    ) async throws {
        var arguments: [RedisArgument] =
            identity + ["task", .string(taskID), "attempt", .integer(Int64(attempt))]
        for piece in pieces { arguments += [.string(piece.stream), .buffer(piece.data)] }
        _ = try await functions.call("log", arguments)
    }

    /// Sleeps until there may be work, or `timeout` is over.
    /// - Returns: whether it was woken.
    @discardableResult
    public func waitForWakeUp(timeout: Duration) async throws -> Bool {
        let seconds = String(format: "%.3f", timeout.seconds)
        let reply = try await functions.client.sendBlocking(
            RedisCommand("BLPOP", .string(functions.keys.wake(worker)), .string(seconds)), timeout: timeout)
        return !reply.isNull
    }

    /// What a pull brought right after a sleep.
    public struct Awakening: Sendable {
        public var assignments: [Assignment]
        /// Why it brought nothing.
        public var refusal: SchedulerError?
    }

    /// Sleeps as ``waitForWakeUp(timeout:)`` does, and pulls in the same trip: the pull waits in Redis, which carries it out
    /// when the sleep is over, so that a task is started before the worker hears of it.
    /// - Parameters:
    ///   - max: how many tasks at most; what is free when it falls asleep.
    ///   - holding: how many attempts the worker knows of when it falls asleep.
    public func sleepAndPull(
        timeout: Duration, max: Int, holding: Int, together: Bool = false
    ) async throws -> Awakening {
        var arguments: [RedisArgument] =
            ["switchyard_pull"] + functions.keys.declared + identity + [
                "max", .integer(Int64(max)), "start", "1", "holding", .integer(Int64(holding)),
            ]
        if together { arguments.add("together", "1") }
        let seconds = String(format: "%.3f", timeout.seconds)
        let replies = try await functions.client.sendBlocking(
            [
                RedisCommand("BLPOP", .string(functions.keys.wake(worker)), .string(seconds)),
                RedisCommand("FCALL", arguments),
            ], timeout: timeout)
        guard replies.count == 2 else {
            throw SchedulerError.internal(message: "Redis answered \(replies.count) of 2 commands", redisAway: false)
        }
        if let error = replies[1].error { return Awakening(assignments: [], refusal: SchedulerError(error)) }
        return Awakening(assignments: try Self.assignments(replies[1]))
    }

    private static func state(_ reply: RESPValue) throws -> Result<TaskState, SchedulerError> {
        if reply.isText("completed") { return .success(.completed) }
        if let error = reply.error { return .failure(SchedulerError(error)) }
        guard let state = reply.string.flatMap(TaskState.init) else {
            throw SchedulerError.internal(message: "switchyard_finish answered \(reply) for a task", redisAway: false)
        }
        return .success(state)
    }

    private static func assignments(_ reply: RESPValue) throws -> [Assignment] {
        try (reply.array ?? []).map { try Assignment($0) }
    }
}

extension WorkerProtocol.Report {
    fileprivate func write(to arguments: inout [RedisArgument]) {
        arguments.add("task", .string(taskID))
        arguments.add("attempt", .integer(Int64(attempt)))
        arguments.add("outcome", .string(outcome.rawValue))
        if let result { arguments.add("result", .buffer(result)) }
        if let exitCode { arguments.add("exit_code", .integer(Int64(exitCode))) }
        if let failure {
            arguments.add("error_code", .string(failure.code))
            arguments.add("error_message", .string(failure.message))
        }
        if !isRetryable { arguments.add("retryable", "0") }
    }
}

extension [RedisArgument] {
    /// A name and its value.
    mutating func add(_ name: String, _ value: RedisArgument) {
        append(.string(name))
        append(value)
    }
}
