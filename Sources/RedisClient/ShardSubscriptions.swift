import Logging
import NIOCore
import Synchronization

/// All subscriptions of a client of a Redis Cluster, with sharded pub/sub: each channel is subscribed on the primary of
/// its hash slot, so its messages cost the other primaries nothing.
///
/// There is one connection to each node that has channels. A channel is subscribed again, with growing delays and
/// without limit, when the connection is lost or when the node says that the slot has moved; those who subscribed to it
/// then get ``RedisSubscription/Event/resubscribed``.
final class ShardSubscriptions: Sendable {
    private struct State {
        /// Who gets the messages of a channel.
        var receivers: [String: [SubscriptionFeed]] = [:]
        /// The node on which a channel is subscribed.
        var homes: [String: String] = [:]
        /// By the address of the node.
        var nodes: [String: Node] = [:]
        /// Channels that are being subscribed again.
        var lost: Set<String> = []
        var isShutDown = false

        /// Returns the channels that no feed has any more.
        mutating func remove(_ feed: SubscriptionFeed) -> [String] {
            feed.channels.filter { channel in
                guard receivers[channel]?.contains(where: { $0 === feed }) == true else { return false }
                receivers[channel]?.removeAll { $0 === feed }
                guard receivers[channel]?.isEmpty == true else { return false }
                receivers[channel] = nil
                return true
            }
        }
    }

    /// The connection to one node.
    private struct Node {
        let shared: SharedConnection
        /// The connection whose end is awaited.
        var watched: ObjectIdentifier?
        /// How many replies to SUNSUBSCRIBE are missing, by channel. Any other such message says that the slot moved.
        var leaving: [String: Int] = [:]
    }

    /// The state in an object of its own, to which the connections deliver messages.
    private final class Table: Sendable {
        let state = Mutex(State())
        /// Called with a channel whose slot has left its node.
        let onMoved = Mutex<(@Sendable (String) -> Void)?>(nil)

        /// Delivers `["smessage", channel, payload]`. Returns false for the replies to commands.
        func deliver(_ value: RESPValue, from address: String) -> Bool {
            guard case .array(let parts) = value, parts.count == 3, let channel = parts[1].string else { return false }
            if parts[0].isText("smessage"), let payload = parts[2].bytes {
                for feed in state.withLock({ $0.receivers[channel] ?? [] }) {
                    feed.buffer.add(.message(channel: channel, payload: payload))
                }
                return true
            }
            guard parts[0].isText("sunsubscribe") else { return false }
            let isReply = state.withLock { state in
                if let count = state.nodes[address]?.leaving[channel] {
                    state.nodes[address]?.leaving[channel] = count > 1 ? count - 1 : nil
                    return true
                }
                if state.homes[channel] == address { state.homes[channel] = nil }
                return false
            }
            if isReply { return false }
            onMoved.withLock { $0 }?(channel)
            return true
        }
    }

    private let cluster: Cluster
    private let pingInterval: TimeAmount
    private let table = Table()

    init(_ cluster: Cluster, pingInterval: TimeAmount = .seconds(10)) {
        self.cluster = cluster
        self.pingInterval = pingInterval
        table.onMoved.withLock { $0 = { [weak self] in self?.restore([$0]) } }
    }

    private var patience: Duration { cluster.configuration.commandTimeout }

    // MARK: Feeds

    /// Subscribes to channels. Returns when the server has confirmed all of them.
    func add(_ channels: [String]) async throws -> SubscriptionFeed {
        let feed = SubscriptionFeed(channels: channels) { [weak self] in self?.remove($0) }
        let isShutDown = table.state.withLock { state in
            if !state.isShutDown {
                for channel in Set(channels) { state.receivers[channel, default: []].append(feed) }
            }
            return state.isShutDown
        }
        if isShutDown { throw RedisError.clientShutDown(endpoint: cluster.configuration.endpoint.description) }
        do {
            for channel in Set(channels) { try await subscribe(channel) }
        } catch {
            feed.stop()
            throw error
        }
        return feed
    }

    /// Called when a feed stops. The commands are sent under the lock, so that SUNSUBSCRIBE never follows the
    /// SSUBSCRIBE of a feed that joins meanwhile.
    private func remove(_ feed: SubscriptionFeed) {
        table.state.withLock { state in
            for channel in state.remove(feed) { leave(channel, &state) }
        }
    }

    private func leave(_ channel: String, _ state: inout State) {
        guard let address = state.homes.removeValue(forKey: channel), let node = state.nodes[address] else { return }
        guard let connection = node.shared.current else { return }
        if !state.homes.values.contains(address) { return connection.close("no subscription is left") }
        state.nodes[address]?.leaving[channel, default: 0] += 1
        connection.post([RedisCommand("SUNSUBSCRIBE", .string(channel))], limit: TimeLimit(patience))
    }

    func shutDown() {
        let (nodes, receivers) = table.state.withLock { state in
            defer {
                state = State()
                state.isShutDown = true
            }
            return (state.nodes, state.receivers)
        }
        for node in nodes.values { node.shared.shutDown() }
        for feed in receivers.values.joined() { feed.buffer.end() }
    }

    // MARK: Nodes

    /// Subscribes to a channel on the primary of its slot.
    private func subscribe(_ channel: String) async throws {
        let deadline = NIODeadline.after(patience)
        try await cluster.routed(HashSlot.of(key: channel.utf8), until: deadline) { server, _ in
            let address = server.configuration.endpoint.description
            let shared = try self.shared(address, server.configuration)
            let connection = try await shared.connection(until: min(deadline, .now() + .seconds(1)))
            self.watch(connection, address)
            // It is entered first: the slot may move as soon as it is subscribed.
            let isWanted = self.table.state.withLock { state in
                guard state.receivers[channel] != nil else { return false }
                state.homes[channel] = address
                return true
            }
            guard isWanted else { return }
            let reply = try await connection.execute(
                RedisCommand("SSUBSCRIBE", .string(channel)), limit: TimeLimit(self.patience))
            guard let error = reply.error else { return }
            self.table.state.withLock { state in
                if state.homes[channel] == address { state.homes[channel] = nil }
            }
            throw error
        }
    }

    private func shared(_ address: String, _ configuration: RedisConfiguration) throws -> SharedConnection {
        try table.state.withLock { state in
            if state.isShutDown {
                throw RedisError.clientShutDown(endpoint: cluster.configuration.endpoint.description)
            }
            if let node = state.nodes[address] { return node.shared }
            let connector = RedisConnector(configuration, group: cluster.group, logger: cluster.logger)
            let shared = SharedConnection(connector) { [table] in table.deliver($0, from: address) }
            state.nodes[address] = Node(shared: shared)
            return shared
        }
    }

    /// Restores the subscriptions of a node when the connection to it is lost.
    private func watch(_ connection: RedisConnection, _ address: String) {
        let id = ObjectIdentifier(connection)
        let isNew = table.state.withLock { state in
            defer { state.nodes[address]?.watched = id }
            return state.nodes[address]?.watched != id
        }
        guard isNew else { return }
        connection.pingWhenIdle(every: pingInterval, limit: patience)
        Task {
            await connection.waitUntilClosed()
            let lost = table.state.withLock { state in
                // Another connection may have the same address in memory later.
                if state.nodes[address]?.watched == id { state.nodes[address]?.watched = nil }
                state.nodes[address]?.leaving = [:]
                let lost = state.homes.filter { $0.value == address }.map(\.key)
                for channel in lost { state.homes[channel] = nil }
                return lost
            }
            cluster.readIfDue(atOnce: !lost.isEmpty)
            restore(lost)
        }
    }

    // MARK: Restoring

    /// Subscribes to channels again that have lost their node.
    private func restore(_ channels: [String]) {
        for channel in channels {
            let isNew = table.state.withLock { state in
                state.receivers[channel] != nil && state.lost.insert(channel).inserted
            }
            if isNew { Task { await restore(channel) } }
        }
    }

    private func restore(_ channel: String) async {
        var backoff = Backoff(first: .milliseconds(50), limit: .seconds(5))
        while true {
            // The sleep fails only when the task is cancelled, which nobody does.
            try? await Task.sleep(for: backoff.nextDelay())
            let isWanted = table.state.withLock { state in
                let isWanted = state.receivers[channel] != nil
                if !isWanted { state.lost.remove(channel) }
                return isWanted
            }
            guard isWanted else { return }
            do {
                try await subscribe(channel)
            } catch {
                cluster.logger.debug("cannot subscribe; retrying", metadata: ["error": "\(error)"])
                continue
            }
            // It may have moved again meanwhile, which was not noted while it was being restored.
            let feeds = table.state.withLock { state -> [SubscriptionFeed]? in
                guard state.homes[channel] != nil || state.receivers[channel] == nil else { return nil }
                state.lost.remove(channel)
                return state.receivers[channel] ?? []
            }
            guard let feeds else { continue }
            for feed in feeds { feed.buffer.add(.resubscribed) }
            return
        }
    }
}
