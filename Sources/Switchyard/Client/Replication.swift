import RedisClient
import Synchronization

// Waiting for Redis replicas: a submission is reported as replicated once so many of them have it.

/// The setting `replicas_to_wait` of each partition, as a handle last read it. A change counts for the handle's
/// submissions after at most ``patience``.
final class ReplicasSetting: Sendable {
    private let known = Mutex<[Int: (count: Int, read: ContinuousClock.Instant)]>([:])

    static let name = "replicas_to_wait"
    private static let patience: Duration = .seconds(5)

    func count(of functions: QueueFunctions) async throws -> Int {
        let partition = functions.keys.partition
        if let found = known.withLock({ $0[partition] }), .now - found.read < Self.patience { return found.count }
        let start = ContinuousClock.now
        let reply = try await functions.read(
            RedisCommand("HGET", .string(functions.keys.config), .string(Self.name)))
        let count = reply.string.flatMap(Int.init) ?? 0
        known.withLock { $0[partition] = (count, start) }
        return count
    }
}

extension SchedulerHandle {
    /// The most Redis replicas that a submission can wait for.
    public static let mostReplicas = 100

    /// Returns how many Redis replicas a submission to a partition waits for: as many as it says itself or, if it does
    /// not, as the queue says.
    func replicasToWait(_ given: Int?, in partition: Int) async throws -> Int {
        guard let given else { return try await replicas.count(of: functions[partition]) }
        guard (0...Self.mostReplicas).contains(given) else {
            throw SchedulerError.invalidInput(
                field: ReplicasSetting.name,
                message: "\(ReplicasSetting.name): expected 0 to \(Self.mostReplicas), found \(given)")
        }
        return given
    }
}

extension QueueFunctions {
    /// How long a call waits for Redis replicas. One that is connected and not far behind has the changes within
    /// milliseconds.
    static let patienceForReplicas: Duration = .seconds(1)

    /// Calls a function, and waits on the same connection until Redis replicas have its changes.
    ///
    /// It has a connection for itself: WAIT holds up whatever follows it. Redis counts the replicas that have all
    /// changes up to the call, its own and earlier ones. So a call that repeats one whose reply was lost, and changes
    /// nothing, waits for the changes of that one.
    /// - Returns: the reply, and whether at least `count` replicas have the changes; nil if `count` is 0.
    func call(
        _ function: String, _ arguments: [RedisArgument], replicas count: Int
    ) async throws -> (reply: RESPValue, isReplicated: Bool?) {
        guard count > 0 else { return (try await call(function, arguments), nil) }
        let limit = Self.patienceForReplicas
        let commands = [
            command(function, arguments),
            RedisCommand("WAIT", .integer(Int64(count)), .integer(Int64(limit.milliseconds))),
        ]
        let replies = try await repeating(onceWithin: nil) {
            try await client.sendBlocking(commands, timeout: limit)
        }.reply
        return (replies[0], try Self.isReplicated(replies.last, count))
    }

    private static func isReplicated(_ reply: RESPValue?, _ count: Int) throws -> Bool {
        guard let reached = reply?.int else {
            throw SchedulerError.internal(
                message: "the change was made, but this user may not wait for Redis replicas: "
                    + "\(reply?.error?.message ?? "WAIT returned no number"); allow it WAIT, or set "
                    + "\(ReplicasSetting.name) to 0", redisAway: false)
        }
        return reached >= count
    }

    /// Sends a command that changes nothing to the server of the partition, again while Redis is away.
    func read(_ command: RedisCommand) async throws -> RESPValue {
        try await repeating(onceWithin: nil) { try await client.send(command) }.reply
    }
}
