import DequeModule
import NIOCore

/// Who gets the replies of one submission, how many are still to come, and until when.
struct PendingReplies: Sendable {
    enum Receiver: Sendable {
        case one(OneShot<RESPValue>)
        case all(OneShot<[RESPValue]>)
    }

    let receiver: Receiver
    var missing: Int
    let deadline: NIODeadline
    /// Errors among them are kept as values only for `.all`, where the caller sees each.
    var received: [RESPValue] = []

    init(_ receiver: Receiver, count: Int = 1, deadline: NIODeadline) {
        self.receiver = receiver
        self.missing = count
        self.deadline = deadline
    }

    func fail(with error: RedisError) {
        switch receiver {
        case .one(let caller): caller.complete(.failure(error))
        case .all(let caller): caller.complete(.failure(error))
        }
    }
}

/// The pure core of a connection: what is to be written, and who waits for which reply.
///
/// It guarantees that replies go to callers in the order of their commands. A caller who gives up keeps his place here,
/// so his reply arrives and is dropped, and nobody gets another's. Each method takes one event and returns what is to be
/// done about it; no I/O happens inside.
struct ConnectionState {
    /// Each waiting command holds memory here and in the server; more than this is a caller who does not wait.
    static let maximumInFlight = 100_000

    private enum Phase {
        /// Can transition to: draining, when the server says that it is a replica; closed.
        case open
        /// Takes no new commands, but waits for the replies under way. Can transition to: closed.
        case draining
        case closed(RedisError)
    }

    private let endpoint: String
    private var phase = Phase.open
    private var outbox = ByteBuffer()
    private var pending: Deque<PendingReplies> = []
    /// Replies that `pending` waits for.
    private var inFlight = 0
    /// How many entries at the end of `pending` still lie in the outbox: certainly not carried out.
    private var unwritten = 0
    private var flushIsScheduled = false
    /// When the expiry timer fires next. Only ever too early, never too late.
    private var timerFires: NIODeadline?
    private(set) var lastReceived = NIODeadline.now()

    init(endpoint: String) {
        self.endpoint = endpoint
    }

    var isOpen: Bool {
        if case .open = phase { true } else { false }
    }

    // MARK: Writing

    enum Submitted {
        case scheduleFlush
        /// An earlier submission's flush takes this one along.
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

    /// Everything submitted since the last flush, and when to call ``expire(now:)`` if that is sooner than planned.
    mutating func flush() -> (bytes: ByteBuffer?, armTimer: NIODeadline?) {
        flushIsScheduled = false
        guard unwritten > 0 else { return (nil, nil) }
        // Deadlines of what is written now; those written before are covered by the timer already.
        let earliest = pending.suffix(unwritten).lazy.map(\.deadline).min()
        unwritten = 0
        let bytes = outbox
        outbox = ByteBuffer()
        return (bytes, earliest.flatMap { armTimer($0) })
    }

    // MARK: Reading

    enum Received {
        case deliver(PendingReplies, RESPValue)
        case incomplete
        /// Nobody asked for it.
        case unexpected
    }

    mutating func receive(_ value: RESPValue) -> (Received, shouldClose: Bool) {
        lastReceived = .now()
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

    /// Something arrived that answers no command.
    mutating func noteActivity() { lastReceived = .now() }

    // MARK: Deadlines

    enum Expired {
        case armTimer(NIODeadline)
        case nothing
        /// A reply is late. Those that follow it can no longer be trusted to come: close the connection.
        case close
    }

    /// O(in flight), but called at most once per earliest deadline, not once per command.
    mutating func expire(now: NIODeadline) -> Expired {
        if let fires = timerFires, fires <= now { timerFires = nil }
        guard let earliest = pending.lazy.map(\.deadline).min() else { return .nothing }
        if earliest <= now { return .close }
        return armTimer(earliest).map { .armTimer($0) } ?? .nothing
    }

    private mutating func armTimer(_ deadline: NIODeadline) -> NIODeadline? {
        if let timerFires, timerFires <= deadline { return nil }
        timerFires = deadline
        return deadline
    }

    // MARK: Closing

    /// Whom to tell, and what. Empty when it was closed before.
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
            let isLate = replies.deadline <= now && error.kind == .connectionClosed
            return (replies, (isLate ? Self.deadlineExceeded(endpoint) : error).applied(true))
        }
    }
}

extension ConnectionState {
    private static func demoted(_ endpoint: String) -> RedisError {
        RedisError(
            kind: .connectionClosed, message: "\(endpoint) became a replica; its connection is being closed",
            endpoint: endpoint)
    }

    private static func overloaded(_ endpoint: String, inFlight: Int) -> RedisError {
        RedisError(
            kind: .overloaded,
            message: "\(inFlight) commands wait for replies of \(endpoint), the most allowed are \(maximumInFlight)",
            endpoint: endpoint)
    }

    /// For those whose command was not written: whatever was wrong with the connection, it is not about them.
    private static func closed(_ endpoint: String, because error: RedisError) -> RedisError {
        RedisError(kind: .connectionClosed, message: error.message, endpoint: endpoint)
    }

    private static func deadlineExceeded(_ endpoint: String) -> RedisError {
        RedisError(kind: .deadlineExceeded, message: "\(endpoint) did not answer in time", endpoint: endpoint)
    }
}
