import Logging
import NIOCore
import Synchronization

/// One established connection. It is used until it is lost, and never reconnects.
///
/// It owns a channel and the ``ConnectionState``; this class is the only place where the one acts on the other.
/// Commands submitted within one turn of the event loop leave in one write. When the connection is lost, a reply is late
/// or something unintelligible arrives, it closes and everyone who waits is told, with whether his command was written.
final class RedisConnection: Sendable {
    /// What arrives on a subscription outside the order of replies. Returns false if the value is an ordinary reply.
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

    /// False as soon as it is known to be lost or of no more use.
    var isOpen: Bool { state.withLock { $0.isOpen } }

    // MARK: Commands

    /// The reply, be it an error. Cancelling the task leaves the connection in order, see ``ConnectionState``.
    func execute(
        _ command: RedisCommand, deadline: NIODeadline, onCancel: @escaping @Sendable () -> Void = {}
    ) async throws -> RESPValue {
        let reply = OneShot<RESPValue>()
        return try await reply.wait(
            start: { submit(CollectionOfOne(command), PendingReplies(.one(reply), deadline: deadline)) },
            onCancel: onCancel)
    }

    /// All replies, errors among them. `replyCount` differs from the number of commands for SUBSCRIBE.
    func execute(
        _ commands: [RedisCommand], replyCount: Int? = nil, deadline: NIODeadline,
        onCancel: @escaping @Sendable () -> Void = {}
    ) async throws -> [RESPValue] {
        let replies = OneShot<[RESPValue]>()
        let pending = PendingReplies(.all(replies), count: replyCount ?? commands.count, deadline: deadline)
        return try await replies.wait(start: { submit(commands, pending) }, onCancel: onCancel)
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
        case .armTimer(let deadline): armTimer(deadline)
        case .nothing: break
        case .close: close("a reply was late")
        }
    }

    // MARK: Replies

    /// Called by the channel's handler, on its event loop.
    func received(_ value: RESPValue) {
        if let onPush, onPush(value) {
            return state.withLock { $0.noteActivity() }
        }
        let (received, shouldClose) = state.withLock { $0.receive(value) }
        switch received {
        case .deliver(let replies, let last):
            switch replies.receiver {
            case .one(let caller): caller.complete(.success(last))
            case .all(let caller): caller.complete(.success(replies.received + CollectionOfOne(last)))
            }
        case .incomplete: break
        case .unexpected: return close("it sent a reply that nobody asked for: \(value.error?.message ?? "")")
        }
        if shouldClose {
            close("it is a replica now")
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

    /// Returns when the channel is closed. Cancelling the task closes it.
    func waitUntilClosed() async {
        await withTaskCancellationHandler {
            // A close future does not fail.
            try? await channel.closeFuture.get()
        } onCancel: {
            close("no longer wanted")
        }
    }

    /// Sends PING whenever nothing has arrived for `interval`; a PING that is not answered by its deadline closes the
    /// connection. Only subscriptions need it: elsewhere, every command has its own deadline.
    func pingWhenIdle(every interval: TimeAmount, deadline: Duration) {
        channel.eventLoop.scheduleTask(in: interval) { [weak self] in
            guard let self, isOpen else { return }
            if state.withLock({ $0.lastReceived }) + interval <= .now() {
                let unread = OneShot<RESPValue>()
                submit(CollectionOfOne(RedisCommand("PING")), PendingReplies(.one(unread), deadline: .after(deadline)))
            }
            pingWhenIdle(every: interval, deadline: deadline)
        }
    }
}
