import NIOCore
import Switchyard

/// The pure core of an ``AttemptTable``: the worker's attempts, the reports of those that ended, and the calls under
/// way. It reads no clock: the time comes in as an argument.
struct HeldAttempts {
    /// What the loops may do.
    private enum Phase {
        /// Can transition to: sleeping, if there is nothing to send; draining; closed.
        case working
        /// A loop waits for a wake-up. The pull that follows it is already queued in Redis. Can transition to: working,
        /// when that pull has ended; draining; closed.
        case sleeping
        /// No more tasks are pulled. `isSleeping`: the pull of a sleep has not ended yet, and may bring some. Can
        /// transition to: closed.
        case draining(isSleeping: Bool)
        /// No further exchanges.
        case closed
    }

    /// Whether there may be work to pull. `news`: something has happened since the last pull was made: a wake-up, a
    /// wait that ended without one, a slot that became free, or a failure.
    private enum Supply {
        /// The last pull brought less than it asked for. Can transition to: possible, by news.
        case exhausted
        /// Nothing is known. Can transition to: exhausted, when a pull is made; its reply then tells.
        case possible
        /// The last pull brought as many tasks as it asked for, so there are probably more. Can transition to:
        /// exhausted or possible, when a pull brings less.
        case plenty(news: Bool)

        var hasNews: Bool {
            switch self {
            case .exhausted: false
            case .possible: true
            case .plenty(let news): news
            }
        }

        var isPlenty: Bool { if case .plenty = self { true } else { false } }
        var mayBring: Bool { if case .exhausted = self { false } else { true } }

        mutating func noteNews() { self = isPlenty ? .plenty(news: true) : .possible }
        mutating func noteAsking() { self = isPlenty ? .plenty(news: false) : .exhausted }

        mutating func noteReply(broughtAll: Bool) {
            self = broughtAll ? .plenty(news: hasNews) : hasNews ? .possible : .exhausted
        }
    }

    /// Whether the queue may have leases of this worker that the worker does not know of.
    private enum Leases {
        /// Can transition to: unknown, if a reply may have been lost.
        case known
        /// A call that is made alone finds them, because its `holding` is exact; while another is under way, `holding`
        /// is only an estimate. `since`: the call must begin after this mark. Can transition to: known.
        case unknown(since: CallsUnderWay.Number)
    }

    /// What a worker of several partitions knows of this one.
    struct Partition {
        enum Server {
            /// `last`: when a call last ended, or was made while no other was under way. Can transition to: away, if a
            /// call fails or has no reply for long.
            case replies(last: ContinuousClock.Instant)
            /// No tasks are pulled, and other partitions have the slots. Can transition to: replies.
            case away
        }

        var server: Server
        /// A wake-up arrived, and no pull has followed it yet. If there is no free slot, a pull of 0 tasks tells the
        /// queue to wake another worker.
        var isWoken = false
    }

    /// How many slots may be filled: all of the worker's, or those granted to this partition.
    var slots: Int
    /// Limit on the reports, and on the new tasks, of one call.
    var tasksPerCall: Int { hasCostlyTasks ? min(maxTasksPerCall, 50) : maxTasksPerCall }
    /// Half the slots, so that two calls under way keep all slots busy; but 16 to 100. The functions accept a pull of
    /// at most 100 tasks, which takes Redis about 2 ms. Below 16, the cost of a call exceeds what a second call gains.
    private let maxTasksPerCall: Int
    private var pullSize: PullSize
    /// The functions accept no higher number.
    private static let maxHolding = 1000

    private var phase = Phase.working
    private var supply = Supply.possible
    private var leases = Leases.known
    /// Nil for a worker of one partition.
    var partition: Partition?

    /// The last assignments included tasks that cost Redis more, because their end concerns other tasks, or because of
    /// a limit or a unique key. Fifty of them take Redis as long as a hundred others.
    var hasCostlyTasks = false
    /// By task id; see ``HeldAttempts/Entry``.
    var entries: [String: Entry] = [:]
    /// How many entries are running or stopped.
    var runningCount = 0
    /// The reports that wait to be sent, oldest first. Those of a call under way are not among them.
    var reports: [WorkerClient.Report] = []
    /// No tasks are pulled for a while (``HostHealth``).
    var isSetAside = false
    /// Assignments beyond the free slots: sent again after an outage, during which other partitions had the slots. They
    /// start as slots become free.
    var overflow: [WorkerClient.Assignment] = []
    /// Attempts that ended without a report while the queue may still have their leases, oldest first.
    var dropped: [AttemptID] = []

    var calls = CallsUnderWay()
    private(set) var exchangeCount = 0
    /// How many tasks the exchanges under way may bring.
    private(set) var wantUnderWay = 0

    /// - Parameter isSpread: the worker serves several partitions: there are no slots until some are granted.
    init(slots: Int, isSpread: Bool = false, now: ContinuousClock.Instant) {
        self.slots = isSpread ? 0 : slots
        partition = isSpread ? Partition(server: .replies(last: now)) : nil
        maxTasksPerCall = max(16, min((slots + 1) / 2, 100))
        pullSize = PullSize(mostTasks: maxTasksPerCall)
    }

    // MARK: Phases

    var isClosed: Bool { if case .closed = phase { true } else { false } }
    var isDraining: Bool { if case .draining = phase { true } else { false } }

    /// The worker waits for a wake-up.
    var isSleeping: Bool {
        switch phase {
        case .sleeping, .draining(isSleeping: true): true
        case .working, .draining, .closed: false
        }
    }

    /// The table is closed, or the worker has drained.
    var isOver: Bool {
        switch phase {
        case .closed: true
        case .draining(let isSleeping): !isSleeping && exchangeCount == 0 && runningCount == 0 && reports.isEmpty
        case .working, .sleeping: false
        }
    }

    /// From now on no tasks are pulled.
    mutating func drain() {
        switch phase {
        case .working: phase = .draining(isSleeping: false)
        case .sleeping: phase = .draining(isSleeping: true)
        case .draining, .closed: break
        }
    }

    /// From now on there are no exchanges.
    mutating func close() { phase = .closed }

    /// Records that there may be work.
    mutating func noteWork() { supply.noteNews() }

    /// Records that the queue may have leases that the worker does not know of.
    private mutating func noteUnknown() {
        leases = .unknown(since: calls.mark())
        supply.noteNews()
    }

    private var mustReconcile: Bool { if case .unknown = leases { true } else { false } }

    /// Whether pulls may bring tasks, and whether the last one brought all that it asked for.
    var mayPull: (anything: Bool, plenty: Bool) { (supply.mayBring, supply.isPlenty && !mustReconcile) }

    // MARK: Exchanges

    /// Returns the next exchange and counts it as under way, or returns nil if there is nothing to send now.
    ///
    /// With no call under way, a single report or a free slot is enough. With one under way, a second is made only if
    /// it has as many reports as one call may carry, or asks for as many tasks. There is never a third.
    mutating func nextExchange(now: ContinuousClock.Instant) -> AttemptTable.Exchange? {
        if isClosed { return nil }
        if let exchange = nextStarts() { return exchange }
        let reported = min(reports.count, tasksPerCall)
        let unsent = reports.count - reported
        let free = slots - runningCount - unsent - wantUnderWay
        let want = isDraining || isSetAside ? 0 : max(0, min(free, tasksPerCall, pullSize.tasks))
        switch exchangeCount {
        case 0:
            guard reported > 0 || (want > 0 && supply.mayBring) || (want == 0 && mustAskForNone) else { return nil }
            noteContact(now)
        case 1 where !mustReconcile:
            guard reported == tasksPerCall || (supply.isPlenty && want == tasksPerCall) else { return nil }
        default:
            return nil
        }
        let holding = min(runningCount + unsent + wantUnderWay, Self.maxHolding)
        let exchange = AttemptTable.Exchange(
            call: calls.begin(), reports: takeReports(reported), want: want, maxBytes: pullSize.bytes, holding: holding,
            reconciles: mustReconcile && want > 0)
        if want > 0 { supply.noteAsking() }
        // A call with reports that pulls nothing does not pass the wake-up on.
        if want > 0 || reported == 0 { partition?.isWoken = false }
        exchangeCount += 1
        wantUnderWay += want
        return exchange
    }

    private mutating func nextStarts() -> AttemptTable.Exchange? {
        guard !overflow.isEmpty else { return nil }
        let starts = takeStartable()
        return starts.isEmpty ? nil : AttemptTable.Exchange(starts: starts)
    }

    private mutating func takeReports(_ count: Int) -> [WorkerClient.Report] {
        if count == reports.count {
            defer { reports = [] }
            return reports
        }
        defer { reports.removeFirst(count) }
        return Array(reports.prefix(count))
    }

    /// Records the reply to a call, with `assigned` new assignments. These must have been added before: while this call
    /// counts as under way, attempts that its reply may bring again are remembered.
    mutating func settle(
        _ exchange: AttemptTable.Exchange, assigned: Int, isCertain: Bool, now: ContinuousClock.Instant
    ) {
        end(exchange)
        settle(exchange.reports)
        if isCertain { pullSize.grow() } else { pullSize.halve() }
        if exchange.want > 0 { supply.noteReply(broughtAll: assigned >= exchange.want) }
        if isAway { supply.noteNews() }
        partition?.server = .replies(last: now)
        if !isCertain {
            noteUnknown()
        } else if exchange.reconciles, case .unknown(let since) = leases,
            CallsUnderWay.began(exchange.call, after: since)
        {
            leases = .known
        }
    }

    /// Records that a call failed. Its reports come first in the next one.
    mutating func giveBack(_ exchange: AttemptTable.Exchange) {
        end(exchange)
        reports = exchange.reports + reports
        partition?.server = .away
        pullSize.halve()
        noteUnknown()
    }

    /// Records that the queue has refused a call as a whole, and has replied to its reports one by one. `unsent` come
    /// first in the next call; `refused` are dropped.
    mutating func settleOneByOne(
        _ exchange: AttemptTable.Exchange, unsent: [WorkerClient.Report], refused: [WorkerClient.Report]
    ) {
        end(exchange)
        let left = Set((unsent + refused).map(\.taskID))
        settle(exchange.reports.filter { !left.contains($0.taskID) })
        for report in refused { drop(AttemptID(taskID: report.taskID, number: report.attempt)) }
        reports = unsent + reports
        noteUnknown()
    }

    private mutating func end(_ exchange: AttemptTable.Exchange) {
        exchangeCount -= 1
        wantUnderWay -= exchange.want
        forget(calls.end(exchange.call))
    }

    // MARK: Sleeps

    /// Begins a sleep and returns its arguments. Returns nil if there may be something to send, if no slot is free, or
    /// if the worker takes no more tasks. Attempts may run during the sleep.
    mutating func nextSleep() -> AttemptTable.Sleep? {
        let want = min(slots - runningCount, tasksPerCall, pullSize.tasks)
        guard case .working = phase, !isSetAside, exchangeCount == 0, want > 0, !supply.mayBring, !mustReconcile
        else { return nil }
        phase = .sleeping
        return AttemptTable.Sleep(call: calls.begin(), want: want, maxBytes: pullSize.bytes)
    }

    /// Ends the sleep. Its assignments must have been added before, as in ``settle(_:assigned:isCertain:now:)``.
    mutating func wakeUp(_ sleep: AttemptTable.Sleep, assigned: Int) {
        endSleep(sleep)
        pullSize.grow()
        supply.noteReply(broughtAll: assigned >= sleep.want)
    }

    /// Ends a sleep that failed. The reply to its pull may be lost.
    mutating func breakSleep(_ sleep: AttemptTable.Sleep) {
        endSleep(sleep)
        pullSize.halve()
        noteUnknown()
    }

    private mutating func endSleep(_ sleep: AttemptTable.Sleep) {
        switch phase {
        case .sleeping: phase = .working
        case .draining: phase = .draining(isSleeping: false)
        case .working, .closed: break
        }
        forget(calls.end(sleep.call))
    }
}
