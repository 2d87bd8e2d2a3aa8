import Logging
import NIOCore
import Synchronization

/// The nodes of a Redis Cluster: which primary has which hash slot, and the connections to each primary.
///
/// The table of slots is read when it is first needed, when a call fails in a way that puts it in doubt, and now and
/// then while it is used. It is read in the background: a call that fails waits its usual delay and looks again. What a
/// node says of a single slot (MOVED) counts at once.
final class Cluster: Sendable {
    typealias Endpoint = RedisConfiguration.Endpoint

    private struct State {
        /// Empty until it is first read.
        var table = SlotTable()
        /// When reading the table last began.
        var readAt = NIODeadline.uptimeNanoseconds(0)
        /// When the table was last in doubt.
        var doubtedAt = NIODeadline.uptimeNanoseconds(0)
        var isReading = false
        /// By address: of the primaries, and of nodes that a redirection named.
        var servers: [String: ServerConnections] = [:]
        /// When a node last said that the keys of a slot are on two nodes.
        var movingSlots: [Int: NIODeadline] = [:]
        /// Why the latest reading failed; nil if it succeeded.
        var failure: RedisError?
        var isShutDown = false
    }

    let configuration: RedisConfiguration
    let logger: Logger
    let group: any EventLoopGroup
    private let seeds: [Endpoint]
    private let state = Mutex(State())

    /// How often the table is read while it is used, without a cause.
    private static let interval: TimeAmount = .seconds(30)
    /// How often it is read after it was in doubt, and for how long: nodes learn of a change from each other, one after
    /// the other, and the node that was asked may not have known of it.
    private static let settling: (interval: TimeAmount, time: TimeAmount) = (.seconds(1), .seconds(5))
    /// The time between two readings at least, however many calls fail.
    private static let leastInterval: TimeAmount = .milliseconds(100)
    /// How many nodes are asked at once. The first one that replies is believed.
    private static let askedAtOnce = 3

    init(_ configuration: RedisConfiguration, nodes: [Endpoint], group: any EventLoopGroup, logger: Logger) {
        self.configuration = configuration
        self.group = group
        self.logger = logger
        seeds = nodes
    }

    // MARK: Servers

    /// Returns the primary of a slot, or some primary; waits until the table has been read.
    /// - Throws: `RedisError` if the table cannot be read by the deadline, or the slot has no primary.
    func owner(of slot: Int?, until deadline: NIODeadline) async throws -> ServerConnections {
        var backoff = Backoff(first: .milliseconds(4), limit: .milliseconds(100))
        while true {
            let (server, failure) = try state.withLock { state -> (ServerConnections?, RedisError?) in
                if state.isShutDown { throw RedisError.clientShutDown(endpoint: configuration.endpoint.description) }
                let endpoint = slot.map { state.table.owner(of: $0) } ?? state.table.primaries.randomElement()
                let server = endpoint.map { self.server(at: $0, &state) }
                // A slot without a primary: somebody may be giving it to one.
                return (server, state.failure)
            }
            readIfDue(atOnce: server == nil)
            if let server { return server }
            if let failure, failure.kind == .invalidConfiguration || failure.kind == .server && !failure.isNotNow {
                throw failure
            }
            let delay = backoff.nextDelay()
            guard NIODeadline.after(delay) < deadline else {
                throw failure ?? notServed(slot)
            }
            try await Task.sleep(for: delay)
        }
    }

    /// Returns the primary of a slot as far as is known.
    func knownOwner(of slot: Int) -> ServerConnections? {
        state.withLock { state in state.table.owner(of: slot).map { server(at: $0, &state) } }
    }

    private func notServed(_ slot: Int?) -> RedisError {
        RedisError(
            kind: .connectionFailed,
            message: "no primary of the Redis Cluster at \(configuration.endpoint) has "
                + (slot.map { "hash slot \($0)" } ?? "any hash slot"),
            endpoint: configuration.endpoint.description)
    }

    /// Returns the connections to a node.
    func server(at endpoint: Endpoint) -> ServerConnections {
        state.withLock { server(at: endpoint, &$0) }
    }

    /// Returns the connections to the node with this address; nil if it is unknown.
    func server(at address: String) -> ServerConnections? { state.withLock { $0.servers[address] } }

    private func server(at endpoint: Endpoint, _ state: inout State) -> ServerConnections {
        if let server = state.servers[endpoint.description] { return server }
        let server = ServerConnections(configuration.ofNode(endpoint), group: group, logger: logger)
        if state.isShutDown { server.shutDown() } else { state.servers[endpoint.description] = server }
        return server
    }

    /// Returns all primaries that have slots.
    func primaries(until deadline: NIODeadline) async throws -> [ServerConnections] {
        _ = try await owner(of: nil, until: deadline)
        return state.withLock { state in state.table.primaries.map { server(at: $0, &state) } }
    }

    var isShutDown: Bool { state.withLock { $0.isShutDown } }

    func shutDown() {
        let servers = state.withLock { state in
            defer { state.servers = [:] }
            state.isShutDown = true
            return state.servers
        }
        for server in servers.values { server.shutDown() }
    }

    // MARK: The table

    /// Calls are repeated at least so often while a slot moves.
    private static let memoryOfMoves: TimeAmount = .milliseconds(1500)

    /// Notes that a call could not be carried out because its slot is moving.
    func noteMoving(_ slot: Int) { state.withLock { $0.movingSlots[slot] = .now() } }

    /// Whether calls wait because the slot is moving.
    func isMoving(_ slot: Int) -> Bool {
        state.withLock { $0.movingSlots[slot] }.map { $0 + Self.memoryOfMoves > .now() } ?? false
    }

    /// Notes what a node has said of a slot, and reads the table: other slots may have moved too.
    func learn(_ slot: Int, isAt endpoint: Endpoint) {
        state.withLock { $0.table.learn(slot, isAt: endpoint) }
        readIfDue(atOnce: true)
    }

    /// Reads the table in the background if that is due, or as soon as may be if it is in doubt.
    func readIfDue(atOnce isInDoubt: Bool = false) {
        let now = NIODeadline.now()
        let start = state.withLock { state -> NIODeadline? in
            if isInDoubt { state.doubtedAt = now }
            guard !state.isReading, !state.isShutDown else { return nil }
            let isSettling = now < state.doubtedAt + Self.settling.time
            let due = state.readAt + (isSettling ? Self.settling.interval : Self.interval)
            guard isInDoubt || due <= now else { return nil }
            state.isReading = true
            state.readAt = max(now, state.readAt + Self.leastInterval)
            return state.readAt
        }
        guard let start else { return }
        Task { [weak self] in
            // Nobody cancels this task.
            if start > now { try? await Task.sleep(for: .nanoseconds((start - now).nanoseconds)) }
            await self?.read()
        }
    }

    private func read() async {
        var failure: RedisError?
        var nodes = state.withLock { state in
            state.table.primaries.shuffled() + state.table.replicas.shuffled()
        }
        nodes += seeds.filter { !nodes.contains($0) }.shuffled()
        for start in stride(from: 0, to: nodes.count, by: Self.askedAtOnce) {
            let asked = nodes[start..<min(start + Self.askedAtOnce, nodes.count)]
            switch await firstTable(of: asked) {
            case .success(let table): return replace(table)
            case .failure(let error):
                failure = failure ?? error
                // No other node knows better.
                if error.kind == .invalidConfiguration { failure = error }
            }
        }
        state.withLock { state in
            state.isReading = false
            state.failure = failure
        }
        if let failure { logger.debug("cannot read the slots of the Redis Cluster", metadata: ["error": "\(failure)"]) }
    }

    /// Asks nodes at once, and returns the first table, or the most telling error.
    private func firstTable(of nodes: ArraySlice<Endpoint>) async -> Result<SlotTable, RedisError> {
        await withTaskGroup(of: Result<SlotTable, RedisError>.self) { group in
            for node in nodes { group.addTask { await self.table(of: node) } }
            var failures: [RedisError] = []
            for await result in group {
                switch result {
                case .success:
                    group.cancelAll()
                    return result
                case .failure(let error): failures.append(error)
                }
            }
            let refusal = failures.first { $0.kind == .invalidConfiguration } ?? failures.first { $0.kind == .server }
            return .failure(refusal ?? failures.first ?? notServed(nil))
        }
    }

    /// Asks one node, on a connection of its own: it may be a node that has nothing else to do for this client.
    private func table(of node: Endpoint) async -> Result<SlotTable, RedisError> {
        let connector = RedisConnector(configuration.ofNode(node), group: group, logger: logger)
        do {
            let connection = try await connector.connectOnce()
            defer { connection.close("the slots were read") }
            let limit = TimeLimit(configuration.connectTimeout)
            let reply = try await connection.execute(RedisCommand("CLUSTER", "SLOTS"), limit: limit)
            if let error = reply.error { return .failure(error.explained(for: node)) }
            return SlotTable(reply, from: node).map { .success($0) } ?? .failure(notServed(nil))
        } catch let error as RedisError {
            return .failure(error)
        } catch {
            // Cancelled: another node was faster.
            return .failure(notServed(nil))
        }
    }

    /// Uses a new table, and leaves the nodes that are no primaries any more.
    private func replace(_ table: SlotTable) {
        let left = state.withLock { state in
            state.isReading = false
            state.failure = nil
            state.table = table
            let kept = Set(table.primaries.map(\.description))
            let left = state.servers.filter { !kept.contains($0.key) }
            for address in left.keys { state.servers[address] = nil }
            return left.values
        }
        guard !left.isEmpty else { return }
        logger.debug(
            "leaving nodes of the Redis Cluster that have no slots",
            metadata: ["nodes": "\(left.map(\.configuration.endpoint.description))"])
        // Calls may wait for replies. What a node has not replied by then, is lost as with a lost connection.
        group.next().scheduleTask(in: TimeAmount(configuration.commandTimeout)) {
            for server in left { server.shutDown() }
        }
    }
}

extension RedisConfiguration {
    /// How to connect to one node of a Redis Cluster.
    func ofNode(_ endpoint: Endpoint) -> RedisConfiguration {
        var configuration = self
        configuration.endpoint = endpoint
        configuration.deployment = .single
        return configuration
    }
}

extension RedisError {
    /// The error of CLUSTER SLOTS. A server that is no node of a Redis Cluster says so.
    fileprivate func explained(for node: RedisConfiguration.Endpoint) -> RedisError {
        guard message.contains("cluster support disabled") else { return self }
        return RedisError(
            kind: .invalidConfiguration,
            message: "the Redis server at \(node) is not a node of a Redis Cluster: use redis://\(node) instead of "
                + "redis-cluster://\(node)",
            endpoint: node.description)
    }
}
