import Logging
import NIOCore
import NIOPosix
import Synchronization

/// A client of one Redis server.
///
/// Any number of tasks may use it at once: their commands share one connection and are pipelined; blocking commands and
/// subscriptions have connections of their own. Connections are made when needed and again after they were lost.
///
/// Every call ends by its deadline, with a reply or a ``RedisError``. A command that may have been carried out is never
/// repeated by the client; ``RedisError/mayHaveBeenApplied`` tells the caller, who knows whether repeating is safe. A
/// command that certainly was not (the server is loading, busy or has too few replicas; the connection was lost before
/// the command was written) is sent again until the deadline.
public final class RedisClient: Sendable {
    public let configuration: RedisConfiguration
    private let connector: RedisConnector
    private let shared: SharedConnection
    private let blocking: BlockingConnections
    private let logger: Logger

    /// Nil once shut down. The subscriptions themselves belong to their consumers.
    private let subscriptions = Mutex<[ObjectIdentifier: SubscriptionFeed]?>([:])

    /// Connects to nothing yet.
    public init(
        _ configuration: RedisConfiguration,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "redis", factory: { _ in SwiftLogNoOpLogHandler() })
    ) {
        self.configuration = configuration
        self.logger = logger
        connector = RedisConnector(configuration, group: eventLoopGroup, logger: logger)
        shared = SharedConnection(connector)
        blocking = BlockingConnections(connector)
    }

    deinit {
        closeAll()
    }

    /// Sends one command and returns its reply. A reply that is an error is thrown, one inside an array is not.
    ///
    /// Cancelling the task throws `CancellationError` at once; the command may still be carried out.
    /// - Parameter deadline: for the whole call, connecting included; the configuration's `commandTimeout` if nil.
    ///   A command whose reply is late costs the connection, and thereby everyone's commands that wait on it.
    public func send(_ command: RedisCommand, deadline: Duration? = nil) async throws -> RESPValue {
        let deadline = NIODeadline.after(deadline ?? configuration.commandTimeout)
        return try await repeating(until: deadline) {
            let reply = try await shared.connection(until: deadline).execute(command, deadline: deadline)
            if let error = reply.error { throw error }
            return reply
        }
    }

    /// Sends all commands in one write and returns all replies, errors among them.
    public func pipeline(_ commands: [RedisCommand], deadline: Duration? = nil) async throws -> [RESPValue] {
        if commands.isEmpty { return [] }
        let deadline = NIODeadline.after(deadline ?? configuration.commandTimeout)
        return try await repeating(until: deadline) {
            try await shared.connection(until: deadline).execute(commands, deadline: deadline)
        }
    }

    /// Sends a command that blocks, such as BLPOP, on a connection that nobody else uses meanwhile.
    ///
    /// Cancelling the task closes that connection. An element that the server had popped and not yet delivered is then
    /// lost, as with any broken connection: use BLMOVE where that matters.
    /// - Parameter timeout: as in the command itself. The client waits longer by the configuration's `commandTimeout`, then
    ///   throws `deadlineExceeded`. Blocking for ever is not supported.
    public func sendBlocking(_ command: RedisCommand, timeout: Duration) async throws -> RESPValue {
        try await sendBlocking([command], timeout: timeout)[0]
    }

    /// As ``sendBlocking(_:timeout:)-(RedisCommand,_)``, with commands that the server is to carry out at once when the first
    /// has ended its block, however: they are sent with it.
    /// - Returns: all replies; errors among them, except that of the first, which is thrown.
    public func sendBlocking(_ commands: [RedisCommand], timeout: Duration) async throws -> [RESPValue] {
        let grace = configuration.commandTimeout
        let connectBy = NIODeadline.after(grace)
        return try await repeating(until: connectBy) {
            let replies = try await blocking.execute(commands, deadline: timeout + grace, connectBy: connectBy)
            if let error = replies.first?.error { throw error }
            return replies
        }
    }

    /// Subscribes to channels, on a connection of its own. Returns once the server has confirmed all of them, so nothing
    /// published after that is missed unless the sequence says so (see ``RedisSubscription``).
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

    /// Closes every connection. Who waits for a reply gets `clientShutDown`; subscriptions end; later calls fail.
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
        blocking.shutDown()
    }

    /// Repeats what certainly had no effect, with growing delays, until the deadline; then throws its last error.
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
