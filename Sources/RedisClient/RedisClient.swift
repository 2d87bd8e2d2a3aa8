import Logging
import NIOCore
import NIOPosix

/// A client of one Redis server, of the primary that Redis Sentinel names, or of a Redis Cluster.
///
/// Any number of tasks may use it at once: their commands share a connection and are pipelined; which one, says their
/// ``Traffic``. All subscriptions share another one, and a blocking command has one for itself. The client connects
/// when a call needs it, and reconnects after a loss.
///
/// Every call ends by its deadline, with a reply or a ``RedisError``; only a call without a deadline of its own waits
/// longer while bytes arrive. The client never repeats a command that may have
/// been carried out: ``RedisError/mayHaveBeenApplied`` tells the caller, who knows whether repeating it is safe. The
/// client retries, until the deadline, a command that had no effect: the server is loading or busy, or the connection
/// was lost before the command was written.
///
/// With a Redis Cluster, each command goes to the primary that has the hash slot of its first key, and one without keys
/// to any primary; all keys of a command must be in one slot. The client follows slots that move and primaries that are
/// replaced: a call to a slot that has no primary now is repeated, until the deadline, unless it may have been carried
/// out. Subscriptions are sharded: only messages that are published with SPUBLISH arrive.
public final class RedisClient: Sendable {
    /// The configuration that the client was created with.
    public let configuration: RedisConfiguration
    private let servers: Servers

    /// Where the commands go.
    private enum Servers: Sendable {
        case one(ServerConnections)
        case cluster(Cluster, ShardSubscriptions)
        /// One node of the Cluster of another client, which owns the connections.
        case node(ServerConnections, of: Cluster)
    }

    /// Which connection a command uses. A reply delays the replies that follow it on the same connection.
    public enum Traffic: Sendable {
        /// The connection that most commands share.
        case ordinary
        /// A second one, for commands with large replies.
        case bulk
        /// A third one, for small commands that must not wait for others, such as heartbeats.
        case urgent
    }

    /// Creates a client. It connects when the first call needs a connection.
    public init(
        _ configuration: RedisConfiguration,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "redis", factory: { _ in SwiftLogNoOpLogHandler() })
    ) {
        self.configuration = configuration
        if case .cluster(let nodes) = configuration.deployment {
            let cluster = Cluster(configuration, nodes: nodes, group: eventLoopGroup, logger: logger)
            servers = .cluster(cluster, ShardSubscriptions(cluster))
        } else {
            servers = .one(ServerConnections(configuration, group: eventLoopGroup, logger: logger))
        }
    }

    private init(_ server: ServerConnections, of cluster: Cluster) {
        configuration = server.configuration
        servers = .node(server, of: cluster)
    }

    deinit {
        shutDown()
    }

    private func shutDown() {
        switch servers {
        case .one(let server): server.shutDown()
        case .cluster(let cluster, let subscriptions):
            subscriptions.shutDown()
            cluster.shutDown()
        case .node: break
        }
    }

    private var cluster: Cluster? {
        switch servers {
        case .one: nil
        case .cluster(let cluster, _), .node(_, let cluster): cluster
        }
    }

    // MARK: Nodes of a Redis Cluster

    /// Whether the server, or each of them, is a node of a Redis Cluster.
    public var isCluster: Bool { cluster != nil }

    /// Returns a client for each primary of the Redis Cluster that has hash slots, or this client if it has one server.
    /// They follow no slot that moves, and their connections are closed with those of this client: ask again before
    /// each use.
    public func primaries(deadline: Duration? = nil) async throws -> [RedisClient] {
        guard case .cluster(let cluster, _) = servers else { return [self] }
        let primaries = try await cluster.primaries(until: .after(deadline ?? configuration.commandTimeout))
        return primaries.map { RedisClient($0, of: cluster) }
            .sorted { "\($0.configuration.endpoint)" < "\($1.configuration.endpoint)" }
    }

    /// Returns a client for the primary of the Redis Cluster that has the key, or this client if it has one server.
    public func primary(of key: String) async throws -> RedisClient {
        guard case .cluster(let cluster, _) = servers else { return self }
        let deadline = NIODeadline.after(configuration.commandTimeout)
        return RedisClient(try await cluster.owner(of: HashSlot.of(key: key.utf8), until: deadline), of: cluster)
    }

    /// Returns a client for the primary that the key has as far as is known, without asking anybody; this client if it
    /// has one server; nil if the nodes have not been read yet, or none has the key.
    public func knownPrimary(of key: String) -> RedisClient? {
        guard case .cluster(let cluster, _) = servers else { return self }
        return cluster.knownOwner(of: HashSlot.of(key: key.utf8)).map { RedisClient($0, of: cluster) }
    }

    /// Whether calls for the key wait because its hash slot is being moved to another node of the Redis Cluster.
    public func isMoving(_ key: String) -> Bool { cluster?.isMoving(HashSlot.of(key: key.utf8)) ?? false }

    /// Returns a client for the node that sent an error, or this client if it has one server.
    public func node(of error: RedisError) -> RedisClient {
        guard case .cluster(let cluster, _) = servers, let server = cluster.server(at: error.endpoint) else {
            return self
        }
        return RedisClient(server, of: cluster)
    }

    // MARK: Commands

    /// Sends one command and returns its reply. An error reply is thrown; an error inside an array stays a value.
    ///
    /// Cancelling the task throws `CancellationError` at once; the command may still be carried out.
    /// - Parameters:
    ///   - deadline: for the whole call, including connecting. Nil: the configuration's `commandTimeout`, and longer
    ///     while bytes arrive, at most ten times as long. A late reply is dropped; the other commands on the connection
    ///     wait on. Only if nothing arrives for `commandTimeout` is the connection closed; an urgent one already after
    ///     this deadline.
    ///   - traffic: which connection to use.
    public func send(
        _ command: RedisCommand, deadline: Duration? = nil, traffic: Traffic = .ordinary
    ) async throws -> RESPValue {
        let limit = limit(deadline, traffic)
        switch servers {
        case .cluster(let cluster, _): return try await cluster.send(command, limit: limit, traffic: traffic)
        case .one(let server), .node(let server, _):
            return try await repeating(until: limit.deadline) {
                let reply = try await server.shared(traffic).connection(until: limit.deadline)
                    .execute(command, limit: limit)
                if let error = reply.error { throw error }
                return reply
            }
        }
    }

    private func limit(_ deadline: Duration?, _ traffic: Traffic = .ordinary) -> TimeLimit {
        guard let deadline else { return TimeLimit(configuration.commandTimeout) }
        let patience = traffic == .urgent ? deadline : configuration.commandTimeout
        return TimeLimit(deadline: .after(deadline), extends: false, patience: TimeAmount(patience))
    }

    /// Sends all commands in one write and returns all replies. Error replies are values among them.
    ///
    /// With a Redis Cluster there is a write to each node. Commands of one slot are carried out in their order, unless
    /// the slot moves meanwhile.
    public func pipeline(_ commands: [RedisCommand], deadline: Duration? = nil) async throws -> [RESPValue] {
        if commands.isEmpty { return [] }
        let limit = limit(deadline)
        switch servers {
        case .cluster(let cluster, _): return try await cluster.pipeline(commands, limit: limit)
        case .one(let server), .node(let server, _):
            return try await repeating(until: limit.deadline) {
                try await server.shared(.ordinary).connection(until: limit.deadline)
                    .execute(commands, limit: limit)
            }
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
    /// The server carries those out as soon as the first command returns, with or without a result. With a Redis
    /// Cluster all of them must be for one slot, and if it moves, the first command blocks anew.
    /// - Returns: all replies. An error reply to the first command is thrown; the others are values among the replies.
    public func sendBlocking(_ commands: [RedisCommand], timeout: Duration) async throws -> [RESPValue] {
        let grace = configuration.commandTimeout
        switch servers {
        case .cluster(let cluster, _): return try await cluster.sendBlocking(commands, limit: timeout + grace)
        case .one(let server), .node(let server, _):
            let connectBy = NIODeadline.after(grace)
            return try await repeating(until: connectBy) {
                let replies = try await server.blocking.execute(commands, limit: timeout + grace, connectBy: connectBy)
                if let error = replies.first?.error { throw error }
                return replies
            }
        }
    }

    /// Subscribes to channels. Returns when the server has confirmed all of them. If messages published after that are
    /// missed, the sequence says so (see ``RedisSubscription``).
    public func subscribe(to channels: [String]) async throws -> RedisSubscription {
        guard !channels.isEmpty else {
            throw RedisError(kind: .invalidConfiguration, message: "a subscription needs at least one channel")
        }
        switch servers {
        case .cluster(_, let subscriptions): return RedisSubscription(feed: try await subscriptions.add(channels))
        case .one(let server), .node(let server, _):
            return RedisSubscription(feed: try await server.subscriptions.add(channels))
        }
    }

    /// Closes every connection. Calls in progress and later calls throw `clientShutDown`; subscriptions end.
    public func shutdown() async {
        shutDown()
    }

    /// Closes the connections that calls share, if they are open: the calls in progress on them fail, and the next ones
    /// make new connections. For a caller who has found out that nothing arrives on them any more. Of a Redis Cluster
    /// no connection is closed: use the client of the node, ``knownPrimary(of:)``.
    public func closeSharedConnections() {
        switch servers {
        case .one(let server), .node(let server, _): server.closeShared("the server does not reply")
        case .cluster: break
        }
    }

    /// When bytes last arrived on the connections that calls share; nil if none of them is open, and with a Redis
    /// Cluster.
    public var lastReceived: NIODeadline? {
        switch servers {
        case .one(let server), .node(let server, _): server.lastReceived
        case .cluster: nil
        }
    }

    /// Whether a server that is the primary no more has refused a command, and sentinels know the one that is.
    private func isFromFormerPrimary(_ error: RedisError) -> Bool {
        if case .sentinel = configuration.deployment { error.wasRefusedByReplica } else { false }
    }

    /// Retries an operation that had no effect, with growing delays, until the deadline; then throws its last error.
    private func repeating<Reply>(
        until deadline: NIODeadline, _ operation: () async throws -> Reply
    ) async throws -> Reply {
        var backoff = Backoff(first: .milliseconds(10), limit: .milliseconds(500))
        while true {
            do {
                return try await operation()
            } catch let error as RedisError where error.isNotNow || error.wasNeverSent || isFromFormerPrimary(error) {
                let delay = backoff.nextDelay()
                guard NIODeadline.after(delay) < deadline else { throw error }
                try await Task.sleep(for: delay)
            }
        }
    }
}
