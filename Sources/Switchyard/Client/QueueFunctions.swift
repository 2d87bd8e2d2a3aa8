import Logging
import NIOCore
import RedisClient

/// Calls the functions on one partition of a queue.
///
/// It loads the library again if Redis has lost it, repeats a call whose reply was lost, and maps Redis's errors to
/// ``SchedulerError``. A repetition returns what the first call returned, or does no harm: a log may get the same
/// output twice.
package struct QueueFunctions: Sendable {
    /// The keys of the partition.
    package let keys: Keys
    /// The client of the server that has the partition.
    package let client: RedisClient
    /// Whether the server replies, for a process that does not wait for it; nil: calls wait for a while.
    let presence: RedisPresence?
    let library: FunctionLibrary

    /// The functions of a partition.
    /// - Parameters:
    ///   - queue: a valid ``Name``.
    ///   - number: the number in the partition's name; nil: its index.
    package init(
        queue: String, partition: Int = 0, number: Int? = nil, client: RedisClient, presence: RedisPresence? = nil,
        logger: Logger
    ) {
        self.keys = Keys(
            queue: queue, partition: partition, number: number, database: client.configuration.database)
        self.client = client
        self.presence = presence
        self.library = FunctionLibrary(client: client, logger: logger)
    }

    /// How long a call is retried while Redis is away.
    static let patience: Duration = .seconds(8)
    /// How long a process that does not wait retries what Redis refuses to write: a failover may be about to end.
    private static let shortPatience: Duration = .milliseconds(400)

    /// Calls `switchyard_<function>` with arguments in pairs of name and value.
    /// - Parameters:
    ///   - deadline: the time limit of a single try, without a repetition; nil: the client's time limit for each try,
    ///     and repetitions for a while.
    ///   - traffic: which connection to use; see `RedisClient`.
    /// - Throws: ``SchedulerError``, or `CancellationError`.
    package func call(
        _ function: String, _ arguments: [RedisArgument], onceWithin deadline: Duration? = nil,
        traffic: RedisClient.Traffic = .ordinary
    ) async throws -> RESPValue {
        try await callNotingRepeats(function, arguments, onceWithin: deadline, traffic: traffic).reply
    }

    /// Like ``call(_:_:)``. `repeated` is true if an earlier try may have been carried out and its reply was lost.
    func callNotingRepeats(
        _ function: String, _ arguments: [RedisArgument], onceWithin deadline: Duration? = nil,
        traffic: RedisClient.Traffic = .ordinary
    ) async throws -> (reply: RESPValue, repeated: Bool) {
        let command = command(function, arguments)
        return try await repeating(onceWithin: deadline) {
            try await client.send(command, deadline: deadline, traffic: traffic)
        }
    }

    func command(_ function: String, _ arguments: [RedisArgument]) -> RedisCommand {
        RedisCommand("FCALL", [.string("switchyard_\(function)")] + keys.declared, arguments)
    }

    /// Sends what `send` sends, again while Redis is away or the library is missing. With a ``RedisPresence``, only
    /// until it is known that Redis is away.
    func repeating<Reply: Sendable>(
        onceWithin deadline: Duration?, _ send: @escaping @Sendable () async throws -> Reply
    ) async throws -> (reply: Reply, repeated: Bool) {
        guard let presence else { return try await repeatingPatiently(onceWithin: deadline, send) }
        return try await presence.calling { try await repeatingPatiently(onceWithin: deadline, send) }
    }

    private func repeatingPatiently<Reply: Sendable>(
        onceWithin deadline: Duration?, _ send: @Sendable () async throws -> Reply
    ) async throws -> (reply: Reply, repeated: Bool) {
        let start = ContinuousClock.now
        var repeated = false
        var restored = false
        var pause = Duration.milliseconds(20)
        while true {
            do {
                return (try await send(), repeated)
            } catch let error as RedisError {
                let isMissing = FunctionLibrary.isMissing(error)
                if isMissing {
                    try await restoreLibrary(client.node(of: error))
                    // If it is missing again, it was flushed again, or a newer library does not have this function.
                    if !restored {
                        restored = true
                        continue
                    }
                }
                let patience = presence != nil && error.refusesWrites ? Self.shortPatience : Self.patience
                guard deadline == nil, isMissing || Self.mayPass(error), ContinuousClock.now - start + pause < patience
                else {
                    throw SchedulerError(repeated ? error.applied(true) : error)
                }
                repeated = repeated || error.mayHaveBeenApplied
            }
            try await Task.sleep(for: pause * Double.random(in: 0.5...1.5))
            pause = min(pause * 2, .milliseconds(500))
        }
    }

    /// Sends commands to the server of the partition, for as long as it replies.
    /// - Parameter mayTakeLong: whether the server may take long to reply, as to a blocking command.
    /// - Throws: ``SchedulerError``, or `CancellationError`.
    func reaching<Value: Sendable>(
        mayTakeLong: Bool = false, _ body: @escaping @Sendable (RedisClient) async throws -> Value
    ) async throws -> Value {
        do {
            guard let presence else { return try await body(client) }
            return try await presence.calling(mayTakeLong: mayTakeLong) { [client] in try await body(client) }
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    private func restoreLibrary(_ server: RedisClient) async throws {
        do {
            try await FunctionLibrary(client: server, logger: library.logger).ensureLoaded()
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    /// Whether a retry of the same call may succeed.
    private static func mayPass(_ error: RedisError) -> Bool {
        switch error.kind {
        case .connectionClosed, .connectionFailed, .deadlineExceeded: true
        case .server: ["READONLY", "NOREPLICAS"].contains(error.code)
        default: false
        }
    }
}
