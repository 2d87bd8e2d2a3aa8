import Logging
import NIOCore
import NIOPosix
import Synchronization

/// A client of one Redis server.
///
/// Any number of tasks may use it at once: their commands share one connection and are pipelined. Commands with large
/// replies share a second one. Blocking commands and subscriptions have their own connections. The client connects
/// when a call needs it, and reconnects after a loss.
///
/// Every call ends by its deadline, with a reply or a ``RedisError``. The client never repeats a command that may have
/// been carried out: ``RedisError/mayHaveBeenApplied`` tells the caller, who knows whether repeating it is safe. The
/// client retries, until the deadline, a command that had no effect: the server is loading, busy or has too few Redis
/// replicas, or the connection was lost before the command was written.
public final class RedisClient: Sendable {
    /// The configuration that the client was created with.
    public let configuration: RedisConfiguration
    private let connector: RedisConnector
    private let shared: SharedConnection
    /// For large replies, which would hold up the others.
    private let bulk: SharedConnection
    private let blocking: BlockingConnections
    private let logger: Logger

    /// The running subscriptions, which their consumers own; nil after shutdown.
    private let subscriptions = Mutex<[ObjectIdentifier: SubscriptionFeed]?>([:])

    /// Creates a client. It connects when the first call needs a connection.
    public init(
        _ configuration: RedisConfiguration,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "redis", factory: { _ in SwiftLogNoOpLogHandler() })
    ) {
        self.configuration = configuration
        self.logger = logger
        connector = RedisConnector(configuration, group: eventLoopGroup, logger: logger)
        shared = SharedConnection(connector)
        bulk = SharedConnection(connector)
        blocking = BlockingConnections(connector)
    }

    deinit {
        closeAll()
    }

    /// Sends one command and returns its reply. An error reply is thrown; an error inside an array stays a value.
    ///
    /// Cancelling the task throws `CancellationError` at once; the command may still be carried out.
    /// - Parameter deadline: for the whole call, including connecting; the configuration's `commandTimeout` if nil.
    ///   A late reply closes the shared connection, which fails all commands that wait on it.
    /// - Parameter isBulk: whether the reply may be large: such commands share a second connection, so that others do
    ///   not wait for their replies.
    public func send(
        _ command: RedisCommand, deadline: Duration? = nil, isBulk: Bool = false
    ) async throws -> RESPValue {
        let deadline = NIODeadline.after(deadline ?? configuration.commandTimeout)
        return try await repeating(until: deadline) {
            let reply = try await (isBulk ? bulk : shared).connection(until: deadline).execute(
                command, deadline: deadline)
            if let error = reply.error { throw error }
            return reply
        }
    }

    /// Sends all commands in one write and returns all replies. Error replies are values among them.
    public func pipeline(_ commands: [RedisCommand], deadline: Duration? = nil) async throws -> [RESPValue] {
        if commands.isEmpty { return [] }
        let deadline = NIODeadline.after(deadline ?? configuration.commandTimeout)
        return try await repeating(until: deadline) {
            try await shared.connection(until: deadline).execute(commands, deadline: deadline)
        }
    }

    /// Sends a command that blocks, such as BLPOP, on a connection that no other call uses meanwhile.
    ///
    /// Cancelling the task closes that connection. An element that the server has popped but not delivered is then
    /// lost, as with any lost connection: use BLMOVE where that matters.
    /// - Parameter timeout: the timeout that the command has. The client waits for this plus the configuration's
    ///   `commandTimeout`, then throws `deadlineExceeded`. Blocking without a timeout is not supported.
    public func sendBlocking(_ command: RedisCommand, timeout: Duration) async throws -> RESPValue {
        try await sendBlocking([command], timeout: timeout)[0]
    }

    /// Sends a blocking command as ``sendBlocking(_:timeout:)-(RedisCommand,_)`` does, and others in the same write.
    /// The server carries those out as soon as the first command returns, with or without a result.
    /// - Returns: all replies. An error reply to the first command is thrown; the others are values among the replies.
    public func sendBlocking(_ commands: [RedisCommand], timeout: Duration) async throws -> [RESPValue] {
        let grace = configuration.commandTimeout
        let connectBy = NIODeadline.after(grace)
        return try await repeating(until: connectBy) {
            let replies = try await blocking.execute(commands, deadline: timeout + grace, connectBy: connectBy)
            if let error = replies.first?.error { throw error }
            return replies
        }
    }

    /// Subscribes to channels, on a connection of its own. Returns when the server has confirmed all of them. If
    /// messages published after that are missed, the sequence says so (see ``RedisSubscription``).
    public func subscribe(to channels: [String]) async throws -> RedisSubscription {
        guard !channels.isEmpty else {
            throw RedisError(kind: .invalidConfiguration, message: "a subscription needs at least one channel")
        }
        let feed = SubscriptionFeed(channels: channels, connector: connector, logger: logger)
        let id = ObjectIdentifier(feed)
        let isRegistered = subscriptions.withLock { subscriptions in
            subscriptions?[id] = feed
            return subscriptions != nil
        }
        guard isRegistered else { throw RedisError.clientShutDown(endpoint: connector.endpoint) }
        do {
            try await feed.start { [weak self] in
                self?.subscriptions.withLock { $0?[id] = nil }
            }
        } catch {
            subscriptions.withLock { $0?[id] = nil }
            throw error
        }
        return RedisSubscription(feed: feed)
    }

    /// Closes every connection. Calls in progress and later calls throw `clientShutDown`; subscriptions end.
    public func shutdown() async {
        closeAll()
    }

    private func closeAll() {
        let feeds = subscriptions.withLock { subscriptions in
            defer { subscriptions = nil }
            return subscriptions ?? [:]
        }
        for feed in feeds.values {
            feed.stop()
        }
        shared.shutDown()
        bulk.shutDown()
        blocking.shutDown()
    }

    /// Retries an operation that had no effect, with growing delays, until the deadline; then throws its last error.
    private func repeating<Reply>(
        until deadline: NIODeadline, _ operation: () async throws -> Reply
    ) async throws -> Reply {
        var backoff = Backoff(first: .milliseconds(10), limit: .milliseconds(500))
        while true {
            do {
                return try await operation()
            } catch let error as RedisError where error.isNotNow || error.wasNeverSent {
                let delay = backoff.nextDelay()
                guard NIODeadline.after(delay) < deadline else { throw error }
                try await Task.sleep(for: delay)
            }
        }
    }
}
