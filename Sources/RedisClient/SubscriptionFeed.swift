import Logging
import NIOCore
import Synchronization

/// Fills a subscription's ``EventBuffer``. It has one connection at a time and reconnects whenever it is lost, until
/// stopped.
///
/// An idle connection is tested with PING: if the peer has vanished, nothing else would show it.
final class SubscriptionFeed: Sendable {
    /// About a megabyte of short messages. A consumer further behind than this should read its state again.
    private static let bufferCapacity = 10_000

    let buffer = EventBuffer(capacity: bufferCapacity)
    private let channels: [String]
    private let connector: RedisConnector
    private let logger: Logger
    private let pingInterval: TimeAmount

    private enum State {
        /// Can transition to: running, when the first connection is subscribed; stopped.
        case new
        /// Can transition to: stopped.
        case running(Task<Void, Never>)
        case stopped
    }

    private let state = Mutex(State.new)

    init(channels: [String], connector: RedisConnector, logger: Logger, pingInterval: TimeAmount = .seconds(10)) {
        self.pingInterval = pingInterval
        self.channels = channels
        self.connector = connector
        self.logger = logger
    }

    /// Subscribes on the first connection, or throws. `onEnd` is called when the feed has ended.
    func start(onEnd: @escaping @Sendable () -> Void) async throws {
        let patience = NIODeadline.after(connector.configuration.commandTimeout)
        let first = try await subscribed { try await connector.connect(until: patience, onPush: $0) }
        let isRunning = state.withLock { state in
            guard case .new = state else { return false }
            state = .running(
                Task {
                    await run(first)
                    buffer.end()
                    onEnd()
                })
            return true
        }
        guard isRunning else {
            first.close("the subscription was stopped")
            throw RedisError.clientShutDown(endpoint: connector.endpoint)
        }
    }

    func stop() {
        let former = state.withLock { state in
            defer { state = .stopped }
            return state
        }
        if case .running(let task) = former { task.cancel() }
        buffer.end()
    }

    private func run(_ first: RedisConnection) async {
        await first.waitUntilClosed()
        while !Task.isCancelled {
            guard let connection = await reconnect() else { return }
            buffer.add(.resubscribed)
            await connection.waitUntilClosed()
        }
    }

    /// Returns nil only if the task was cancelled.
    private func reconnect() async -> RedisConnection? {
        var backoff = Backoff(first: .milliseconds(50), limit: .seconds(5))
        while true {
            do {
                try await Task.sleep(for: backoff.nextDelay())
                return try await subscribed { try await connector.connectOnce(onPush: $0) }
            } catch {
                if Task.isCancelled { return nil }
                logger.debug(
                    "cannot subscribe; retrying",
                    metadata: ["endpoint": "\(connector.endpoint)", "error": "\(error)"])
            }
        }
    }

    /// Connects, and returns the connection when all channels are subscribed.
    private func subscribed(
        _ connect: (@escaping RedisConnection.PushHandler) async throws -> RedisConnection
    ) async throws -> RedisConnection {
        let connection = try await connect { [buffer] value in Self.deliver(value, to: buffer) }
        do {
            let replies = try await connection.execute(
                [RedisCommand("SUBSCRIBE", channels.map { .string($0) })], replyCount: channels.count,
                deadline: .after(connector.configuration.commandTimeout))
            if let error = replies.lazy.compactMap(\.error).first { throw error }
        } catch {
            connection.close("subscribing failed")
            throw error
        }
        connection.pingWhenIdle(every: pingInterval, deadline: connector.configuration.commandTimeout)
        return connection
    }

    /// Delivers `["message", channel, payload]`. Any other value (a confirmation, PONG) is the reply to a command.
    private static func deliver(_ value: RESPValue, to buffer: EventBuffer) -> Bool {
        guard case .array(let parts) = value, parts.count == 3, parts[0].string == "message",
            let channel = parts[1].string, let payload = parts[2].bytes
        else { return false }
        buffer.add(.message(channel: channel, payload: payload))
        return true
    }
}
