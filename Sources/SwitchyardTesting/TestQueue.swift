import Foundation
import Logging
import NIOCore
import RedisClient
import Switchyard

/// A test's own queue, with a random name, on a real Redis.
public struct TestQueue: Sendable {
    /// The Redis server of the queue.
    public let redis: TestRedis
    /// The queue's name.
    public let name: String
    /// The names of the queue's keys, or of one partition's.
    package let keys: Keys
    /// The handle under test.
    public let handle: SchedulerHandle

    /// Creates a queue with a random name.
    /// - Parameters:
    ///   - redis: The server; nil: ``TestRedis/shared``.
    ///   - settings: Settings by their names in the queue's `config`; durations in milliseconds.
    public init(on redis: TestRedis? = nil, settings: [String: Int] = [:]) async throws {
        if let redis { self.redis = redis } else { self.redis = try await TestRedis.shared }
        name = "test-" + QueuedTask.randomID()
        keys = Keys(queue: name)
        handle = try SchedulerHandle(queue: name, client: self.redis.client, logger: TestRedis.quiet)
        try await handle.configure(settings.map { ($0.key, $0.value) })
    }

    /// The keys on `redis` of an existing queue. `handle` may use another server.
    package init(_ name: String, handle: SchedulerHandle, on redis: TestRedis) {
        self.redis = redis
        self.handle = handle
        self.name = name
        keys = Keys(queue: name)
    }

    /// One partition of a queue.
    init(partition: Int, of handle: SchedulerHandle, on redis: TestRedis) {
        self.redis = redis
        self.handle = handle
        name = handle.queue
        keys = Keys(queue: handle.queue, partition: partition)
    }

    /// Runs `body` with a new queue, then checks that all its keys are consistent, and deletes them.
    /// - Throws: what `body` throws, or ``SnapshotViolations``.
    public static func run(
        on redis: TestRedis? = nil, settings: [String: Int] = [:], _ body: (TestQueue) async throws -> Void
    ) async throws {
        let queue = try await TestQueue(on: redis, settings: settings)
        try await body(queue)
        let snapshot = try await queue.snapshot()
        try await queue.delete(snapshot)
    }

    /// Reads and checks all keys of the queue.
    /// - Throws: ``SnapshotViolations``.
    @discardableResult
    package func snapshot() async throws -> Snapshot {
        let snapshot = try await Snapshot(reading: keys, client: redis.client)
        try snapshot.check()
        return snapshot
    }

    private func delete(_ snapshot: Snapshot) async throws {
        let names = snapshot.contents.keys.map { RedisArgument.string(keys.prefix + $0) }
        guard !names.isEmpty else { return }
        _ = try await redis.client.send(RedisCommand("UNLINK", names))
    }

    /// Calls `switchyard_<function>` once, without retries, and throws Redis's own errors.
    @discardableResult
    package func call(_ function: String, _ arguments: RedisArgument...) async throws -> RESPValue {
        try await call(function, arguments)
    }

    /// Calls `switchyard_<function>` once, without retries, and throws Redis's own errors.
    @discardableResult
    package func call(_ function: String, _ arguments: [RedisArgument]) async throws -> RESPValue {
        try await redis.client.send(
            RedisCommand(
                "FCALL", [.string("switchyard_" + function), 2, .string(keys.prefix), .string(keys.config)], arguments))
    }

    /// Sends any command, to damage or inspect keys. `{}` in an argument stands for the queue's prefix.
    @discardableResult
    package func raw(_ command: String, _ arguments: String...) async throws -> RESPValue {
        try await raw(command, arguments)
    }

    /// Sends any command, to damage or inspect keys. `{}` in an argument stands for the queue's prefix.
    @discardableResult
    package func raw(_ command: String, _ arguments: [String]) async throws -> RESPValue {
        let arguments = arguments.map { RedisArgument.string($0.replacingOccurrences(of: "{}", with: keys.prefix)) }
        return try await redis.client.send(RedisCommand(command, arguments))
    }

    // MARK: Workers and time

    /// Returns the protocol of a worker that has not registered.
    package func stranger(_ id: String, client: RedisClient? = nil) throws -> WorkerClient {
        try WorkerClient(
            worker: id, queue: name, partition: keys.partition, client: client ?? redis.client,
            logger: TestRedis.quiet)
    }

    /// Registers a worker and returns its protocol.
    package func worker(_ id: String, slots: Int = 1, client: RedisClient? = nil) async throws -> WorkerClient {
        let worker = try stranger(id, client: client)
        _ = try await worker.register(WorkerClient.Registration(slots: slots))
        return worker
    }

    /// The reply of `switchyard_tick`: counts, and times in milliseconds.
    package struct Tick: Sendable, Equatable {
        /// Counts of what the call did: ended leases, lost workers, held tasks that became due, deleted tasks, and
        /// woken workers.
        package var expired, lostWorkers, due, purged, woken: Int
        /// Whether something is left to do now.
        package var more: Bool
        /// Milliseconds since 1970 at which the next thing is due; 0 if nothing is.
        package var nextDue: Int
        /// Redis's time, in milliseconds since 1970.
        package var now: Int
        /// The instance id of the queue.
        package var instance: String
    }

    /// Calls `switchyard_tick`.
    /// - Parameter cleanup: Also deletes ended tasks whose retention is over.
    @discardableResult
    package func tick(limit: Int = 100, cleanup: Bool = false) async throws -> Tick {
        let fields = try await call("tick", "limit", .integer(Int64(limit)), "cleanup", cleanup ? "1" : "0").pairs
        func int(_ name: String) -> Int { Int(fields[name]?.int ?? -1) }
        return Tick(
            expired: int("expired"), lostWorkers: int("lost_workers"), due: int("due"), purged: int("purged"),
            woken: int("woken"), more: int("more") == 1, nextDue: int("next_due"), now: int("now"),
            instance: fields["instance"]?.string ?? "")
    }

    // MARK: Tasks

    /// Submits a task. `options` are further arguments of `switchyard_submit`, by name.
    package func submit(
        _ id: String, priority: TaskPriority = .normal, maxRetries: Int = 2, _ options: [String: String] = [:]
    ) async throws {
        var arguments: [RedisArgument] = [
            "task", .string(id), "priority", .string(priority.rawValue), "max_retries", .integer(Int64(maxRetries)),
        ]
        for (name, value) in options { arguments += [.string(name), .string(value)] }
        try await call("submit", arguments)
    }

    /// Pulls tasks for `worker`, and starts them if `start`. Returns their ids with the numbers of their attempts.
    @discardableResult
    package func pull(
        _ worker: String, max: Int = 1, start: Bool = false, holding: Int? = nil
    ) async throws -> [(id: String, attempt: Int)] {
        var arguments: [RedisArgument] = ["worker", .string(worker), "max", .integer(Int64(max))]
        if start { arguments += ["start", "1"] }
        if let holding { arguments += ["holding", .integer(Int64(holding))] }
        return try await call("pull", arguments).assignments
    }

    /// Reports one attempt and returns the reply about it: a state, or an error as a value.
    @discardableResult
    package func finish(
        _ worker: String, _ id: String, attempt: Int, _ outcome: String, _ options: [String: String] = [:]
    ) async throws -> RESPValue {
        var arguments: [RedisArgument] = [
            "worker", .string(worker), "task", .string(id), "attempt", .integer(Int64(attempt)), "outcome",
            .string(outcome),
        ]
        for (name, value) in options { arguments += [.string(name), .string(value)] }
        let reply = try await call("finish", arguments)
        return reply.array?.first?.array?.first ?? .null
    }
}

extension RESPValue {
    /// An array of alternating names and values as a dictionary.
    package var pairs: [String: RESPValue] {
        let values = array ?? []
        var pairs: [String: RESPValue] = [:]
        for index in stride(from: 0, to: values.count - 1, by: 2) {
            if let name = values[index].string { pairs[name] = values[index + 1] }
        }
        return pairs
    }

    /// The reply of a pull: task ids with the numbers of their attempts.
    package var assignments: [(id: String, attempt: Int)] {
        (array ?? []).map { entry in
            let pairs = entry.pairs
            return (pairs["task"]?.string ?? "", Int(pairs["attempt"]?.int ?? 0))
        }
    }
}

/// Checks `condition` every `pause` until it holds. Returns false if it does not hold within the limit.
public func eventually(
    within limit: Duration = .seconds(10), every pause: Duration = .milliseconds(5),
    _ condition: () async throws -> Bool
) async throws -> Bool {
    let end = ContinuousClock.now + limit
    while ContinuousClock.now < end {
        if try await condition() { return true }
        try await Task.sleep(for: pause)
    }
    return try await condition()
}
