import Logging
import NIOCore
import Synchronization

/// All subscriptions of a client. They share one connection, so that a process with a thousand of them needs one
/// descriptor here and one in the server.
///
/// The connection is made for the first subscription and closed after the last. After a loss it is made again, with
/// growing delays and without limit, and each subscription gets ``RedisSubscription/Event/resubscribed``. An idle
/// connection is tested with PING: if the peer has vanished, nothing else would show it.
final class Subscriptions: Sendable {
    private struct State {
        var feeds: [ObjectIdentifier: SubscriptionFeed] = [:]
        /// Who gets the messages of a channel.
        var receivers: [String: [SubscriptionFeed]] = [:]
        /// The connection whose end is awaited.
        var watched: ObjectIdentifier?
        /// The feeds whose connection is lost, and whether somebody subscribes them again.
        var lost: Set<ObjectIdentifier> = []
        var isRestoring = false
        var isShutDown = false

        mutating func insert(_ feed: SubscriptionFeed) {
            feeds[ObjectIdentifier(feed)] = feed
            for channel in feed.channels { receivers[channel, default: []].append(feed) }
        }

        /// Returns the channels that no feed has any more.
        mutating func remove(_ feed: SubscriptionFeed) -> [String] {
            guard feeds.removeValue(forKey: ObjectIdentifier(feed)) != nil else { return [] }
            return feed.channels.filter { channel in
                receivers[channel]?.removeAll { $0 === feed }
                guard receivers[channel]?.isEmpty == true else { return false }
                receivers[channel] = nil
                return true
            }
        }
    }

    /// The state in an object of its own, to which the connection delivers messages.
    private final class Table: Sendable {
        let state = Mutex(State())

        /// Delivers `["message", channel, payload]`. Any other value (a confirmation, PONG) is the reply to a command.
        func deliver(_ value: RESPValue) -> Bool {
            guard case .array(let parts) = value, parts.count == 3, parts[0].string == "message",
                let channel = parts[1].string, let payload = parts[2].bytes
            else { return false }
            for feed in state.withLock({ $0.receivers[channel] ?? [] }) {
                feed.buffer.add(.message(channel: channel, payload: payload))
            }
            return true
        }
    }

    private let connector: RedisConnector
    private let logger: Logger
    private let pingInterval: TimeAmount
    private let table: Table
    private let shared: SharedConnection

    init(_ connector: RedisConnector, logger: Logger, pingInterval: TimeAmount = .seconds(10)) {
        let table = Table()
        self.connector = connector
        self.logger = logger
        self.pingInterval = pingInterval
        self.table = table
        shared = SharedConnection(connector) { table.deliver($0) }
    }

    private var patience: Duration { connector.configuration.commandTimeout }

    /// Subscribes to channels. Returns when the server has confirmed all of them.
    func add(_ channels: [String]) async throws -> SubscriptionFeed {
        let feed = SubscriptionFeed(channels: channels) { [weak self] in self?.remove($0) }
        let isShutDown = table.state.withLock { state in
            if !state.isShutDown { state.insert(feed) }
            return state.isShutDown
        }
        if isShutDown { throw RedisError.clientShutDown(endpoint: connector.endpoint) }
        do {
            if let refusal = try await subscribe([feed]).values.first { throw refusal }
        } catch {
            feed.stop()
            throw error
        }
        return feed
    }

    /// Called when a feed stops. The commands are sent under the lock, so that UNSUBSCRIBE never follows the SUBSCRIBE
    /// of a feed that joins meanwhile.
    private func remove(_ feed: SubscriptionFeed) {
        table.state.withLock { state in
            let channels = state.remove(feed)
            guard !channels.isEmpty, let connection = shared.current else { return }
            if state.feeds.isEmpty { return connection.close("no subscription is left") }
            connection.post(
                channels.map { RedisCommand("UNSUBSCRIBE", .string($0)) }, limit: TimeLimit(patience))
        }
    }

    func shutDown() {
        let feeds = table.state.withLock { state in
            defer {
                state = State()
                state.isShutDown = true
            }
            return state.feeds
        }
        shared.shutDown()
        for feed in feeds.values { feed.buffer.end() }
    }

    // MARK: The connection

    /// Subscribes to the channels of the feeds. Returns the channels that the server refuses.
    private func subscribe(_ feeds: [SubscriptionFeed]) async throws -> [String: RedisError] {
        let connection = try await shared.connection(until: .after(patience))
        watch(connection)
        let channels = Array(Set(feeds.flatMap(\.channels)))
        // A command for each channel: one with several has a single reply if it is refused.
        let replies = try await connection.execute(
            channels.map { RedisCommand("SUBSCRIBE", .string($0)) }, limit: TimeLimit(patience))
        var refused: [String: RedisError] = [:]
        for (channel, reply) in zip(channels, replies) { refused[channel] = reply.error }
        return refused
    }

    /// Restores the subscriptions when the connection is lost.
    private func watch(_ connection: RedisConnection) {
        let id = ObjectIdentifier(connection)
        let isNew = table.state.withLock { state in
            defer { state.watched = id }
            return state.watched != id
        }
        guard isNew else { return }
        connection.pingWhenIdle(every: pingInterval, limit: patience)
        Task {
            await connection.waitUntilClosed()
            let isFirst = table.state.withLock { state in
                // Another connection may have the same address in memory later.
                if state.watched == id { state.watched = nil }
                state.lost.formUnion(state.feeds.keys)
                defer { state.isRestoring = true }
                return !state.isRestoring
            }
            if isFirst { await restore() }
        }
    }

    /// Subscribes the lost feeds again, until all that have not stopped meanwhile are subscribed. Only one such call
    /// runs at a time: a connection that is lost while it subscribes must not begin another.
    private func restore() async {
        var backoff = Backoff(first: .milliseconds(50), limit: .seconds(1))
        while true {
            // The sleep fails only if the task is cancelled; nobody does that.
            try? await Task.sleep(for: backoff.nextDelay())
            let lost = table.state.withLock { state in
                let lost = state.lost.compactMap { state.feeds[$0] }
                // From here on, the loss of the next connection counts.
                state.lost = []
                if lost.isEmpty { state.isRestoring = false }
                return lost
            }
            if lost.isEmpty { return }
            do {
                let refused = try await subscribe(lost)
                if let error = refused.values.first { note(error) }
                for feed in lost {
                    if feed.channels.contains(where: { refused[$0] != nil }) {
                        keep([feed])
                    } else {
                        feed.buffer.add(.resubscribed)
                    }
                }
            } catch {
                note(error)
                keep(lost)
            }
        }
    }

    private func keep(_ feeds: [SubscriptionFeed]) {
        table.state.withLock { $0.lost.formUnion(feeds.map { ObjectIdentifier($0) }) }
    }

    private func note(_ error: any Error) {
        logger.debug(
            "cannot subscribe; retrying", metadata: ["endpoint": "\(connector.endpoint)", "error": "\(error)"])
    }
}
