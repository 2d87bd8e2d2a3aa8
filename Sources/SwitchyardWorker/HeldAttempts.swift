import NIOCore
import Switchyard

/// The pure core of an ``AttemptTable``: the attempts that a worker holds, the reports of those that ended, and the calls
/// under way.
struct HeldAttempts {
    private enum Phase {
        /// Can transition to: stopped; reported, when it ends; gone, if it ends after its report was made pointless.
        case running
        /// Told to end. Can transition to: reported, when it ends by its time limit; gone, when it ends otherwise.
        case stopped(AttemptTable.StopReason)
        /// Its report waits or is under way. Can transition to: gone, when the report was answered.
        case reported
    }

    private struct Entry {
        let attempt: Int
        var phase = Phase.running
        var work: Task<Void, Never>?
        var deadline: ContinuousClock.Instant?
        var progress: ByteBuffer?

        var isRunning: Bool {
            if case .reported = phase { false } else { true }
        }

        var stopReason: AttemptTable.StopReason? {
            if case .stopped(let reason) = phase { reason } else { nil }
        }
    }

    /// How many slots it may fill: all of the worker's, or its grant of them.
    var slots: Int
    /// How many reports, and how many new tasks, a call carries at most. Half the slots, so that two calls under way keep
    /// all slots turning; a hundred tasks is what a function may be asked for, and takes Redis about 2 ms; and below 16 the
    /// cost of a call weighs more than what a second one gains.
    var load: Int { concernOthers ? min(fullLoad, 50) : fullLoad }
    private let fullLoad: Int
    /// The last tasks to come were not all plain ones: fifty of these take Redis as long as a hundred of those.
    private var concernOthers = false
    private var entries: [String: Entry] = [:]
    /// Entries that are running or stopped.
    private(set) var runningCount = 0
    private(set) var reports: [WorkerProtocol.Report] = []

    private(set) var callsUnderWay = 0
    /// How many tasks the calls under way may bring.
    private(set) var wantUnderWay = 0
    /// The last call brought as many tasks as it asked for: there are probably more.
    private(set) var isBusy = false
    /// The queue may hold attempts for us that we do not know of. One call by itself, which knows how many we hold, finds
    /// out; with another under way it could only guess.
    private(set) var mustCount = false

    /// It waits for a wake-up, after which Redis assigns it tasks at once.
    private(set) var isSleeping = false

    /// There may be work: at the start, after a wake-up, when a wait was over without one, and when slots became free.
    var mayHaveWork = true
    var isDraining = false
    var isClosed = false

    // Of a worker of several partitions; see ``HeldAttempts/settle(with:_:)``.

    let isSpread: Bool
    /// Woken, and the queue does not know yet whether for nothing.
    var wasWoken = false
    /// Its instance does not answer: until it does, it is asked for nothing, and its slots are others'.
    var isAway = false
    /// When the queue last answered, or a call set out after none.
    private(set) var lastProgress = ContinuousClock.now
    /// Assigned again after an outage, when others had the slots; they start as slots become free.
    var parked: [WorkerProtocol.Assignment] = []

    /// - Parameter isSpread: it begins with no slots, and is granted some of them.
    init(slots: Int, isSpread: Bool = false) {
        self.slots = isSpread ? 0 : slots
        self.isSpread = isSpread
        fullLoad = max(16, min((slots + 1) / 2, 100))
    }

    // MARK: Calls

    mutating func nextTurn() -> AttemptTable.Turn? {
        if isClosed { return nil }
        if !parked.isEmpty {
            let starts = takeStartable()
            if !starts.isEmpty {
                return AttemptTable.Turn(reports: [], want: 0, holding: 0, counts: false, starts: starts)
            }
        }
        let reported = min(reports.count, load)
        let waiting = reports.count - reported
        let want = isDraining ? 0 : max(0, min(slots - runningCount - waiting - wantUnderWay, load))
        // What there is to say without reports and wants: that it was woken in vain; whether the instance is back.
        let asksForNone = isSpread && !isDraining && want == 0 && (wasWoken || isAway)
        switch callsUnderWay {
        case 0:
            guard reported > 0 || (want > 0 && (mayHaveWork || isBusy)) || asksForNone else { return nil }
            if isSpread { lastProgress = .now }
        case 1 where !mustCount:
            guard reported == load || (isBusy && want == load) else { return nil }
        default:
            return nil
        }
        let turn = AttemptTable.Turn(
            reports: takeReports(reported), want: want, holding: runningCount + waiting + wantUnderWay,
            counts: mustCount && want > 0)
        if want > 0 { mayHaveWork = false }
        // Only a call that asks for tasks, or is made to ask for none, tells the queue.
        if want > 0 || reported == 0 { wasWoken = false }
        callsUnderWay += 1
        wantUnderWay += want
        return turn
    }

    private mutating func takeReports(_ count: Int) -> [WorkerProtocol.Report] {
        if count == reports.count {
            defer { reports = [] }
            return reports
        }
        defer { reports.removeFirst(count) }
        return Array(reports.prefix(count))
    }

    /// Nothing is left to do.
    var isOver: Bool { isClosed || (isDraining && entries.isEmpty && callsUnderWay == 0 && !isSleeping) }

    /// There is nothing to say to the queue, and a slot free: it is time to sleep. Other attempts may run meanwhile.
    mutating func nextSleep() -> AttemptTable.Sleep? {
        let want = min(slots - runningCount, load)
        guard !isDraining, !isClosed, callsUnderWay == 0, want > 0, !mayHaveWork, !isBusy, !mustCount else {
            return nil
        }
        isSleeping = true
        return AttemptTable.Sleep(want: want, holding: runningCount + reports.count)
    }

    mutating func wakeUp(mayHaveMore: Bool) {
        isSleeping = false
        isBusy = mayHaveMore
    }

    mutating func breakSleep() {
        isSleeping = false
        noteUnknown()
    }

    /// A call was answered, with so many assignments.
    mutating func settle(_ turn: AttemptTable.Turn, assigned: Int, isCertain: Bool) {
        end(turn)
        for report in turn.reports { remove(report.taskID, attempt: report.attempt) }
        if turn.want > 0 { isBusy = assigned >= turn.want }
        if isAway { mayHaveWork = true }
        isAway = false
        if !isCertain {
            noteUnknown()
        } else if turn.counts {
            mustCount = false
        }
    }

    /// A call failed.
    mutating func giveBack(_ turn: AttemptTable.Turn) {
        end(turn)
        reports = turn.reports + reports
        isAway = isSpread
        noteUnknown()
    }

    private mutating func end(_ turn: AttemptTable.Turn) {
        callsUnderWay -= 1
        wantUnderWay -= turn.want
        if isSpread { lastProgress = .now }
    }

    private mutating func noteUnknown() {
        mustCount = true
        mayHaveWork = true
    }

    // MARK: Attempts

    /// Answers the assignments that are new, and the work of earlier attempts at the same tasks, which is to be stopped.
    mutating func add(
        _ assignments: [WorkerProtocol.Assignment]
    ) -> (new: [WorkerProtocol.Assignment], outdated: [Task<Void, Never>]) {
        if !assignments.isEmpty { concernOthers = assignments.contains(where: \.concernsOthers) }
        var new: [WorkerProtocol.Assignment] = []
        new.reserveCapacity(assignments.count)
        var outdated: [Task<Void, Never>] = []
        for assignment in assignments {
            if let known = entries.updateValue(Entry(attempt: assignment.attempt), forKey: assignment.id) {
                if known.attempt >= assignment.attempt {
                    entries[assignment.id] = known
                    continue
                }
                if known.isRunning { runningCount -= 1 }
                parked.removeAll { $0.id == assignment.id }
                if let work = known.work { outdated.append(work) }
            }
            runningCount += 1
            new.append(assignment)
        }
        return (new, outdated)
    }

    /// Answers whether the attempt was stopped before.
    mutating func attach(
        _ work: Task<Void, Never>, to taskID: String, attempt: Int, deadline: ContinuousClock.Instant
    ) -> Bool {
        update(taskID, attempt) { entry in
            guard entry.isRunning else { return false }
            entry.work = work
            entry.deadline = deadline
            return entry.stopReason != nil
        } ?? true
    }

    /// Answers whether it ran and was not stopped before, and what is to be cancelled.
    mutating func stop(
        _ taskID: String, attempt: Int, _ reason: AttemptTable.StopReason
    ) -> (isStopped: Bool, work: Task<Void, Never>?) {
        update(taskID, attempt) { entry in
            guard case .running = entry.phase else { return (false, nil) }
            entry.phase = .stopped(reason)
            return (true, entry.work)
        } ?? (false, nil)
    }

    mutating func setProgress(_ taskID: String, attempt: Int, _ progress: ByteBuffer) {
        _ = update(taskID, attempt) { $0.progress = progress }
    }

    mutating func end(_ end: AttemptEnd) {
        guard let index = entries.index(forKey: end.attempt.id), entries.values[index].attempt == end.attempt.number,
            entries.values[index].isRunning
        else { return }
        runningCount -= 1
        mayHaveWork = true
        if let report = end.report(stopped: entries.values[index].stopReason) {
            entries.values[index] = Entry(attempt: end.attempt.number, phase: .reported)
            reports.append(report)
        } else {
            entries.remove(at: index)
        }
    }

    private mutating func remove(_ taskID: String, attempt: Int) {
        if let index = entries.index(forKey: taskID), entries.values[index].attempt == attempt {
            entries.remove(at: index)
        }
    }

    private mutating func update<Result>(
        _ taskID: String, _ attempt: Int, _ change: (inout Entry) -> Result
    ) -> Result? {
        guard let index = entries.index(forKey: taskID), entries.values[index].attempt == attempt else { return nil }
        return change(&entries.values[index])
    }

    struct Running {
        let taskID: String
        let attempt: Int
        let deadline: ContinuousClock.Instant?
        let progress: ByteBuffer?
    }

    /// Everything that runs, also what was told to end and has not yet.
    var running: [Running] {
        entries.compactMap { taskID, entry in
            guard entry.isRunning else { return nil }
            return Running(
                taskID: taskID, attempt: entry.attempt, deadline: entry.deadline, progress: entry.progress)
        }
    }
}
