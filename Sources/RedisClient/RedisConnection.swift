import Logging
import NIOCore
import Synchronization

/// One established connection. It is used until it is lost; it never reconnects.
///
/// It owns a channel and a ``ConnectionState``, and performs the actions that the state returns. Commands submitted
/// within one iteration of the event loop are sent in one write. If the connection is lost, if nothing arrives for too
/// long, or if bytes arrive that are not RESP2, it closes; each waiting caller gets an error that says whether its
/// command was written.
final class RedisConnection: Sendable {
    /// Handles a value that is not the reply to a command (a published message). Returns false if the value is a reply.
    typealias PushHandler = @Sendable (RESPValue) -> Bool

    let endpoint: String
    private let channel: any Channel
    private let logger: Logger
    private let onPush: PushHandler?
    private let state: Mutex<ConnectionState>

    init(channel: any Channel, endpoint: String, logger: Logger, onPush: PushHandler? = nil) {
        self.channel = channel
        self.endpoint = endpoint
        self.logger = logger
        self.onPush = onPush
        state = Mutex(ConnectionState(endpoint: endpoint))
    }

    /// False once the connection is lost, closed or draining.
    var isOpen: Bool { state.withLock { $0.isOpen } }

    /// When bytes last arrived.
    var lastReceived: NIODeadline { state.withLock { $0.lastReceived } }

    // MARK: Commands

    /// Returns the reply, which may be an error value. Cancelling the task does not disturb the order of replies, see
    /// ``ConnectionState``.
    func execute(
        _ command: RedisCommand, limit: TimeLimit, onCancel: @escaping @Sendable () -> Void = {}
    ) async throws -> RESPValue {
        let reply = OneShot<RESPValue>()
        return try await reply.wait(
            start: { submit(CollectionOfOne(command), PendingReplies(.one(reply), limit: limit)) },
            onCancel: onCancel)
    }

    /// Returns all replies, with errors as values. Each command must have one reply.
    func execute(
        _ commands: [RedisCommand], limit: TimeLimit, onCancel: @escaping @Sendable () -> Void = {}
    ) async throws -> [RESPValue] {
        let replies = OneShot<[RESPValue]>()
        let pending = PendingReplies(.all(replies), count: commands.count, limit: limit)
        return try await replies.wait(start: { submit(commands, pending) }, onCancel: onCancel)
    }

    /// Sends commands whose replies nobody waits for.
    func post(_ commands: [RedisCommand], limit: TimeLimit) {
        submit(commands, PendingReplies(.all(OneShot()), count: commands.count, limit: limit))
    }

    private func submit(_ commands: some Collection<RedisCommand>, _ replies: PendingReplies) {
        switch state.withLock({ $0.submit(commands, replies) }) {
        case .scheduleFlush: channel.eventLoop.execute { self.flush() }
        case .flushIsScheduled: break
        case .refused(let error): replies.fail(with: error)
        }
    }

    private func flush() {
        let (bytes, timer) = state.withLock { $0.flush() }
        if let bytes {
            channel.writeAndFlush(bytes, promise: nil)
        }
        if let timer {
            armTimer(timer)
        }
    }

    private func armTimer(_ deadline: NIODeadline) {
        channel.eventLoop.scheduleTask(deadline: deadline) { [weak self] in self?.expire() }
    }

    private func expire() {
        switch state.withLock({ $0.expire(now: .now()) }) {
        case .fail(let late, let next):
            if let next { armTimer(next) }
            for (replies, error) in late { replies.fail(with: error) }
        case .close: close("a reply was late")
        }
    }

    // MARK: Replies

    /// Called by the channel's handler, on its event loop, before the values in the bytes.
    func receivedBytes() {
        state.withLock { $0.noteBytes(now: .now()) }
    }

    /// Called by the channel's handler, on its event loop.
    func received(_ value: RESPValue) {
        if let onPush, onPush(value) { return }
        let (received, shouldClose) = state.withLock { $0.receive(value) }
        switch received {
        case .deliver(let replies, let last):
            switch replies.receiver {
            case .one(let caller): caller.complete(.success(last))
            case .all(let caller): caller.complete(.success(replies.received + CollectionOfOne(last)))
            }
        case .incomplete: break
        case .unexpected: return close("the server sent a reply to no command: \(value.error?.message ?? "")")
        }
        if shouldClose {
            close("the server is a Redis replica now")
        }
    }

    // MARK: Closing

    func close(_ reason: String) {
        close(
            RedisError(
                kind: .connectionClosed, message: "connection to \(endpoint) closed: \(reason)", endpoint: endpoint))
    }

    func close(_ error: RedisError) {
        let waiting = state.withLock { $0.close(error) }
        for (replies, error) in waiting {
            replies.fail(with: error)
        }
        if channel.isActive {
            logger.debug(
                "closing a Redis connection", metadata: ["endpoint": "\(endpoint)", "reason": "\(error.message)"])
        }
        channel.close(promise: nil)
    }

    /// Calls `action` once the channel is closed; at once if it is.
    func whenClosed(_ action: @escaping @Sendable () -> Void) {
        channel.closeFuture.whenComplete { _ in action() }
    }

    /// Waits until the channel is closed. Cancelling the task closes it.
    func waitUntilClosed() async {
        await withTaskCancellationHandler {
            // A close future never fails.
            try? await channel.closeFuture.get()
        } onCancel: {
            close("no longer wanted")
        }
    }

    /// Sends PING whenever nothing has arrived for `interval`; if nothing arrives within `limit` then, the connection
    /// closes. Only subscriptions need it: elsewhere, every command has its own limit.
    func pingWhenIdle(every interval: TimeAmount, limit: Duration) {
        channel.eventLoop.scheduleTask(in: interval) { [weak self] in
            guard let self, isOpen else { return }
            if state.withLock({ $0.lastReceived }) + interval <= .now() {
                post([RedisCommand("PING")], limit: TimeLimit(limit))
            }
            pingWhenIdle(every: interval, limit: limit)
        }
    }
}
