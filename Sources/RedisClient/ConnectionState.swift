import DequeModule
import NIOCore

/// How long a command waits for its replies, and its connection for a sign of life.
///
/// The two differ: a caller that gives up early says nothing about the connection, which others share. It stays open,
/// and the late reply is dropped. If nothing at all arrives for ``patience``, the connection counts as dead.
struct TimeLimit: Sendable {
    /// When the caller gets `deadlineExceeded`.
    var deadline: NIODeadline
    /// Whether the caller waits longer while bytes arrive: replies come in order, so every byte brings its own nearer.
    var extends = true
    /// After this time without a byte, the connection is closed.
    var patience: TimeAmount

    /// A caller that waits longer while bytes arrive waits at most this many times ``patience``.
    private static let longest = 10

    /// Returns when the caller of a command that was submitted at `start` gives up.
    fileprivate func end(start: NIODeadline, lastReceived: NIODeadline) -> NIODeadline {
        guard extends, lastReceived > start else { return deadline }
        return max(deadline, min(lastReceived + patience, start + patience * Self.longest))
    }
}

extension TimeLimit {
    /// The same limit for the caller and for the connection.
    init(_ limit: Duration) {
        self.init(deadline: .after(limit), patience: TimeAmount(limit))
    }
}

/// The replies that one submission waits for: who receives them, how many are missing, and until when.
struct PendingReplies: Sendable {
    enum Receiver: Sendable {
        case one(OneShot<RESPValue>)
        case all(OneShot<[RESPValue]>)
    }

    let receiver: Receiver
    var missing: Int
    let limit: TimeLimit
    let start: NIODeadline
    /// The caller has given up. The entry stays until its replies have arrived.
    var isAbandoned = false
    /// The replies so far, of `.all`. Error replies are kept as values: the caller sees each.
    var received: [RESPValue] = []

    init(_ receiver: Receiver, count: Int = 1, limit: TimeLimit, start: NIODeadline = .now()) {
        self.receiver = receiver
        self.missing = count
        self.limit = limit
        self.start = start
    }

    fileprivate func end(_ lastReceived: NIODeadline) -> NIODeadline {
        limit.end(start: start, lastReceived: lastReceived)
    }

    func fail(with error: RedisError) {
        switch receiver {
        case .one(let caller): caller.complete(.failure(error))
        case .all(let caller): caller.complete(.failure(error))
        }
    }
}

/// The state machine of a connection: the bytes to write, and which caller waits for which reply. It does no I/O: each
/// method takes one event and returns the action to perform.
///
/// Replies go to callers in the order of their commands. The entry of a caller that was cancelled or has given up stays
/// until its reply arrives and is dropped, so that no caller gets the reply to another's command.
struct ConnectionState {
    /// Limit on replies not yet received. Each uses memory here and in the server; only callers that submit commands
    /// without waiting for replies reach it.
    static let maximumInFlight = 100_000

    private enum Phase {
        /// Can transition to: draining, if the server says that it is a Redis replica; closed.
        case open
        /// Accepts no new commands, and waits for the replies in flight. Can transition to: closed.
        case draining
        case closed(RedisError)
    }

    private let endpoint: String
    private var phase = Phase.open
    private var outbox = ByteBuffer()
    private var pending: Deque<PendingReplies> = []
    /// The number of replies that `pending` waits for.
    private var inFlight = 0
    /// The number of entries at the end of `pending` whose commands are still in the outbox: they were not sent.
    private var unwritten = 0
    private var flushIsScheduled = false
    /// When the expiry timer fires next. This may be before the earliest deadline, but not after it.
    private var timerFires: NIODeadline?
    /// When bytes last arrived.
    private(set) var lastReceived: NIODeadline

    init(endpoint: String, now: NIODeadline = .now()) {
        self.endpoint = endpoint
        lastReceived = now
    }

    var isOpen: Bool {
        if case .open = phase { true } else { false }
    }

    // MARK: Writing

    enum Submitted {
        case scheduleFlush
        /// The flush scheduled by an earlier submission also writes this one.
        case flushIsScheduled
        case refused(RedisError)
    }

    mutating func submit(_ commands: some Sequence<RedisCommand>, _ replies: PendingReplies) -> Submitted {
        switch phase {
        case .open: break
        case .draining: return .refused(Self.demoted(endpoint))
        case .closed(let error): return .refused(error)
        }
        guard inFlight + replies.missing <= Self.maximumInFlight else {
            return .refused(Self.overloaded(endpoint, inFlight: inFlight))
        }
        for command in commands {
            outbox.writeBytes(command.formatted.bytes)
        }
        pending.append(replies)
        inFlight += replies.missing
        unwritten += 1
        if flushIsScheduled { return .flushIsScheduled }
        flushIsScheduled = true
        return .scheduleFlush
    }

    /// Returns the bytes submitted since the last flush, and the time for ``expire(now:)`` if no timer covers it yet.
    mutating func flush() -> (bytes: ByteBuffer?, armTimer: NIODeadline?) {
        flushIsScheduled = false
        guard unwritten > 0 else { return (nil, nil) }
        // Only the deadlines of the commands written now: the timer already covers those written before.
        let earliest = pending.suffix(unwritten).lazy.map(\.limit.deadline).min()
        unwritten = 0
        let bytes = outbox
        outbox = ByteBuffer()
        return (bytes, earliest.flatMap { armTimer($0) })
    }

    // MARK: Reading

    enum Received {
        case deliver(PendingReplies, RESPValue)
        case incomplete
        /// No command waits for a reply.
        case unexpected
    }

    mutating func receive(_ value: RESPValue) -> (Received, shouldClose: Bool) {
        guard pending.count > unwritten else { return (.unexpected, true) }
        if case .error(let error) = value, error.meansDemoted, case .open = phase { phase = .draining }
        inFlight -= 1
        if pending[0].missing > 1 {
            pending[0].missing -= 1
            pending[0].received.append(value)
            return (.incomplete, false)
        }
        let first = pending.removeFirst()
        if case .draining = phase { return (.deliver(first, value), pending.isEmpty) }
        return (.deliver(first, value), false)
    }

    /// Notes that bytes have arrived: a reply, a part of one, or a push message.
    mutating func noteBytes(now: NIODeadline) { lastReceived = now }

    // MARK: Deadlines

    enum Expired {
        /// These callers have waited long enough. The connection goes on.
        case fail([(PendingReplies, RedisError)], armTimer: NIODeadline?)
        /// Nothing arrives any more: close the connection.
        case close
    }

    /// Called when the timer fires. O(in flight), but the timer fires about once per earliest deadline, not per
    /// command.
    mutating func expire(now: NIODeadline) -> Expired {
        if let fires = timerFires, fires <= now { timerFires = nil }
        guard pending.count > unwritten else { return .fail([], armTimer: nil) }
        let silentUntil = max(lastReceived, pending[0].start) + pending[0].limit.patience
        if silentUntil <= now { return .close }
        var late: [(PendingReplies, RedisError)] = []
        var next = silentUntil
        for index in 0..<pending.count - unwritten where !pending[index].isAbandoned {
            let end = pending[index].end(lastReceived)
            if end <= now {
                pending[index].isAbandoned = true
                late.append((pending[index], Self.deadlineExceeded(endpoint).applied(true)))
            } else {
                next = min(next, end)
            }
        }
        return .fail(late, armTimer: armTimer(next))
    }

    /// Returns the time to arm a timer for; nil if the present one fires by then.
    private mutating func armTimer(_ deadline: NIODeadline) -> NIODeadline? {
        if let timerFires, timerFires <= deadline { return nil }
        timerFires = deadline
        return deadline
    }

    // MARK: Closing

    /// Returns the callers to fail, with the error of each. Empty if the connection was already closed.
    mutating func close(_ error: RedisError, now: NIODeadline = .now()) -> [(PendingReplies, RedisError)] {
        if case .closed = phase { return [] }
        let refusal = error.kind == .clientShutDown ? error : Self.closed(endpoint, because: error)
        phase = .closed(refusal)
        defer {
            pending = []
            outbox = ByteBuffer()
            inFlight = 0
            unwritten = 0
        }
        let firstUnwritten = pending.count - unwritten
        return pending.enumerated().map { index, replies in
            if index >= firstUnwritten { return (replies, refusal) }
            let isLate = replies.limit.deadline <= now && error.kind == .connectionClosed
            return (replies, (isLate ? Self.deadlineExceeded(endpoint) : error).applied(true))
        }
    }
}

extension ConnectionState {
    private static func demoted(_ endpoint: String) -> RedisError {
        RedisError(
            kind: .connectionClosed, message: "\(endpoint) became a Redis replica; its connection is being closed",
            endpoint: endpoint)
    }

    private static func overloaded(_ endpoint: String, inFlight: Int) -> RedisError {
        RedisError(
            kind: .overloaded,
            message: "\(inFlight) commands wait for replies of \(endpoint); the limit is \(maximumInFlight)",
            endpoint: endpoint)
    }

    /// The error of commands that were not written: whatever the connection's error, they were not sent.
    private static func closed(_ endpoint: String, because error: RedisError) -> RedisError {
        RedisError(kind: .connectionClosed, message: error.message, endpoint: endpoint)
    }

    private static func deadlineExceeded(_ endpoint: String) -> RedisError {
        RedisError(kind: .deadlineExceeded, message: "\(endpoint) did not reply in time", endpoint: endpoint)
    }
}
