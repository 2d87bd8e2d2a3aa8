import NIOCore
import Switchyard

/// The pure core of an ``AttemptTable``: the worker's attempts, the reports of those that ended, and the calls under
/// way.
struct HeldAttempts {
    private enum Phase {
        /// The attempt runs, or waits in `overflow`. Can transition to: `stopped`; `reported` when it ends.
        case running
        /// The attempt was told to end. When it ends, can transition to: `reported` if its time limit stopped it;
        /// otherwise the entry is removed.
        case stopped(AttemptTable.StopReason)
        /// The report waits or is under way. The entry is removed when the queue has replied to it.
        case reported
    }

    /// One attempt. In any phase it is replaced when a later attempt at the same task is assigned.
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

    /// How many slots may be filled: all of the worker's, or those granted to this partition.
    var slots: Int
    /// Limit on the reports, and on the new tasks, of one call.
    var tasksPerCall: Int { hasCostlyTasks ? min(maxTasksPerCall, 50) : maxTasksPerCall }
    /// Half the slots, so that two calls under way keep all slots busy; but 16 to 100. The functions accept a pull of
    /// at most 100 tasks, which takes Redis about 2 ms. Below 16, the cost of a call exceeds what a second call gains.
    private let maxTasksPerCall: Int
    /// The last assignments included tasks that cost Redis more, because their end concerns other tasks, or because of
    /// a limit or a unique key. Fifty of them take Redis as long as a hundred others.
    private var hasCostlyTasks = false
    /// By task id.
    private var entries: [String: Entry] = [:]
    /// How many entries are running or stopped.
    private(set) var runningCount = 0
    /// The reports that wait to be sent, oldest first. Those of a call under way are not among them.
    private(set) var reports: [WorkerClient.Report] = []

    private(set) var callsUnderWay = 0
    /// How many tasks the calls under way may bring.
    private(set) var wantUnderWay = 0
    /// The last call brought as many tasks as it asked for, so there are probably more.
    private(set) var isBusy = false
    /// A reply may have been lost, so this worker may have leases that it does not know of. A call that is made alone
    /// finds them, because its `holding` is exact. While another call is under way, `holding` is only an estimate.
    private(set) var mustReconcile = false

    /// The worker waits for a wake-up. The pull that follows is already queued in Redis.
    private(set) var isSleeping = false

    /// There may be work to pull: at the start, after a wake-up or a wait that ended without one, when a slot became
    /// free, and after a failure.
    var mayHaveWork = true
    var isDraining = false
    /// No tasks are pulled for a while (``HostHealth``).
    var isSetAside = false
    /// No further exchanges.
    var isClosed = false

    // For a worker of several partitions only; see ``HeldAttempts/settle(with:)``.

    /// The worker serves several partitions.
    let isSpread: Bool
    /// A wake-up arrived, and no pull has followed it yet. If there is no free slot, a pull of 0 tasks tells the queue
    /// to wake another worker.
    var wasWoken = false
    /// The partition's Redis instance does not reply. Until it does, no tasks are pulled from it, and other partitions
    /// have its slots.
    var isAway = false
    /// When a call last ended, or was made while no other was under way.
    private(set) var lastProgress = ContinuousClock.now
    /// Assignments beyond the free slots: sent again after an outage, during which other partitions had the slots. They
    /// start as slots become free.
    var overflow: [WorkerClient.Assignment] = []

    /// - Parameter isSpread: the worker serves several partitions: there are no slots until some are granted.
    init(slots: Int, isSpread: Bool = false) {
        self.slots = isSpread ? 0 : slots
        self.isSpread = isSpread
        maxTasksPerCall = max(16, min((slots + 1) / 2, 100))
    }

    // MARK: Calls

    /// Returns the next exchange and counts it as under way, or returns nil if there is nothing to send now.
    ///
    /// With no call under way, a single report or a free slot is enough. With one under way, a second is made only if
    /// it has as many reports as one call may carry, or asks for as many tasks. There is never a third.
    mutating func nextExchange() -> AttemptTable.Exchange? {
        if isClosed { return nil }
        if !overflow.isEmpty {
            let starts = takeStartable()
            if !starts.isEmpty {
                return AttemptTable.Exchange(reports: [], want: 0, holding: 0, reconciles: false, starts: starts)
            }
        }
        let reported = min(reports.count, tasksPerCall)
        let unsent = reports.count - reported
        let free = slots - runningCount - unsent - wantUnderWay
        let want = isDraining || isSetAside ? 0 : max(0, min(free, tasksPerCall))
        // A pull of 0 tasks: it passes a wake-up on to another worker, or finds out whether Redis replies again.
        let asksForNone = isSpread && !isDraining && want == 0 && (wasWoken || isAway)
        switch callsUnderWay {
        case 0:
            guard reported > 0 || (want > 0 && (mayHaveWork || isBusy)) || asksForNone else { return nil }
            if isSpread { lastProgress = .now }
        case 1 where !mustReconcile:
            guard reported == tasksPerCall || (isBusy && want == tasksPerCall) else { return nil }
        default:
            return nil
        }
        let exchange = AttemptTable.Exchange(
            reports: takeReports(reported), want: want, holding: runningCount + unsent + wantUnderWay,
            reconciles: mustReconcile && want > 0)
        if want > 0 { mayHaveWork = false }
        // A call with reports that pulls nothing does not pass the wake-up on.
        if want > 0 || reported == 0 { wasWoken = false }
        callsUnderWay += 1
        wantUnderWay += want
        return exchange
    }

    private mutating func takeReports(_ count: Int) -> [WorkerClient.Report] {
        if count == reports.count {
            defer { reports = [] }
            return reports
        }
        defer { reports.removeFirst(count) }
        return Array(reports.prefix(count))
    }

    /// The table is closed, or the worker has drained.
    var isOver: Bool { isClosed || (isDraining && entries.isEmpty && callsUnderWay == 0 && !isSleeping) }

    /// Begins a sleep and returns its arguments. Returns nil if there may be something to send, if no slot is free, or
    /// if the worker takes no more tasks. Attempts may run during the sleep.
    mutating func nextSleep() -> AttemptTable.Sleep? {
        let want = min(slots - runningCount, tasksPerCall)
        guard !isDraining, !isSetAside, !isClosed, callsUnderWay == 0, want > 0, !mayHaveWork, !isBusy,
            !mustReconcile
        else { return nil }
        isSleeping = true
        return AttemptTable.Sleep(want: want, holding: runningCount + reports.count)
    }

    /// Ends the sleep.
    mutating func wakeUp(mayHaveMore: Bool) {
        isSleeping = false
        isBusy = mayHaveMore
    }

    /// Ends a sleep that failed. The reply to its pull may be lost.
    mutating func breakSleep() {
        isSleeping = false
        noteUnknown()
    }

    /// Records the reply to a call, with `assigned` assignments.
    mutating func settle(_ exchange: AttemptTable.Exchange, assigned: Int, isCertain: Bool) {
        end(exchange)
        for report in exchange.reports { remove(report.taskID, attempt: report.attempt) }
        if exchange.want > 0 { isBusy = assigned >= exchange.want }
        if isAway { mayHaveWork = true }
        isAway = false
        if !isCertain {
            noteUnknown()
        } else if exchange.reconciles {
            mustReconcile = false
        }
    }

    /// Records that a call failed. Its reports come first in the next one.
    mutating func giveBack(_ exchange: AttemptTable.Exchange) {
        end(exchange)
        reports = exchange.reports + reports
        isAway = isSpread
        noteUnknown()
    }

    private mutating func end(_ exchange: AttemptTable.Exchange) {
        callsUnderWay -= 1
        wantUnderWay -= exchange.want
        if isSpread { lastProgress = .now }
    }

    /// Records that there may be assignments of this worker that it does not know of.
    private mutating func noteUnknown() {
        mustReconcile = true
        mayHaveWork = true
    }

    // MARK: Attempts

    /// Adds assignments. Returns those that are new, and the Swift tasks of earlier attempts at the same tasks, which
    /// the caller cancels.
    mutating func add(
        _ assignments: [WorkerClient.Assignment]
    ) -> (new: [WorkerClient.Assignment], outdated: [Task<Void, Never>]) {
        if !assignments.isEmpty { hasCostlyTasks = assignments.contains(where: \.concernsOthers) }
        var new: [WorkerClient.Assignment] = []
        new.reserveCapacity(assignments.count)
        var outdated: [Task<Void, Never>] = []
        for assignment in assignments {
            if let known = entries.updateValue(Entry(attempt: assignment.attempt), forKey: assignment.id) {
                if known.attempt >= assignment.attempt {
                    entries[assignment.id] = known
                    continue
                }
                if known.isRunning { runningCount -= 1 }
                overflow.removeAll { $0.id == assignment.id }
                if let work = known.work { outdated.append(work) }
            }
            runningCount += 1
            new.append(assignment)
        }
        return (new, outdated)
    }

    /// Sets the Swift task and the deadline of an attempt. Returns whether the Swift task must be cancelled: the
    /// attempt was stopped before, or is not known any more.
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

    /// Stops an attempt. Returns whether it was running and not yet stopped, and the Swift task to cancel.
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

    /// Records that an attempt has ended, and adds its report if it has one. Does nothing for an attempt that is not
    /// known or was replaced by a later one.
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

    /// Changes the entry of an attempt. Returns nil if it is not known.
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

    /// The attempts that run, including those that were told to end and have not ended yet.
    var running: [Running] {
        entries.compactMap { taskID, entry in
            guard entry.isRunning else { return nil }
            return Running(
                taskID: taskID, attempt: entry.attempt, deadline: entry.deadline, progress: entry.progress)
        }
    }
}
