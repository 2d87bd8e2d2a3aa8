import NIOCore
import Switchyard

// The worker's attempts, each from its assignment until no reply can bring it again.
extension HeldAttempts {
    enum EntryPhase {
        /// The attempt runs, or waits in `overflow`. Can transition to: stopped; reported or over, when it ends.
        case running
        /// The attempt was told to end. Can transition to, when it ends: reported, if the queue or its time limit
        /// stopped it; over.
        case stopped(AttemptTable.StopReason)
        /// The report waits or is under way. Can transition to: over, when the queue has replied to it.
        case reported
        /// The attempt is only remembered, so that it is not started again. The entry is removed when no reply can
        /// bring it any more.
        case over
    }

    /// One attempt. In any phase it is replaced when a later attempt at the same task is assigned.
    struct Entry {
        let attempt: Int
        /// When the worker learned of it.
        let since: ContinuousClock.Instant
        var phase = EntryPhase.running
        var work: Task<Void, Never>?
        var deadline: ContinuousClock.Instant?
        var progress: ByteBuffer?
        /// The task's own grace.
        var grace: Duration?

        var isRunning: Bool {
            switch phase {
            case .running, .stopped: true
            case .reported, .over: false
            }
        }

        var stopReason: AttemptTable.StopReason? {
            if case .stopped(let reason) = phase { reason } else { nil }
        }
    }

    /// Limit on the attempts of which the queue may have leases although they have ended here. There are some only
    /// after an outage: at most one for each slot.
    private static let maxDropped = 10_000

    /// Adds assignments. Returns those that are new, and the Swift tasks of earlier attempts at the same tasks, which
    /// the caller cancels.
    mutating func add(
        _ assignments: [WorkerClient.Assignment], now: ContinuousClock.Instant
    ) -> (new: [WorkerClient.Assignment], outdated: [Task<Void, Never>]) {
        if !assignments.isEmpty { hasCostlyTasks = assignments.contains(where: \.concernsOthers) }
        var new: [WorkerClient.Assignment] = []
        new.reserveCapacity(assignments.count)
        var outdated: [Task<Void, Never>] = []
        for assignment in assignments {
            let entry = Entry(attempt: assignment.attempt, since: now, grace: assignment.grace)
            if let known = entries.updateValue(entry, forKey: assignment.id) {
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
        let stopped: (Bool, Task<Void, Never>?)? = update(taskID, attempt) { entry in
            guard case .running = entry.phase else { return (false, nil) }
            entry.phase = .stopped(reason)
            return (true, entry.work)
        }
        guard let stopped, stopped.0 else { return (false, nil) }
        if let index = overflow.firstIndex(where: { $0.id == taskID }) {
            // It has not started, and must not.
            overflow.remove(at: index)
            runningCount -= 1
            leave(AttemptID(taskID: taskID, number: attempt), reason)
        }
        return (true, stopped.1)
    }

    mutating func setProgress(_ taskID: String, attempt: Int, _ progress: ByteBuffer) {
        // The progress of an attempt that is over concerns nobody.
        _ = update(taskID, attempt) { $0.progress = progress }
    }

    func stopReason(of taskID: String, attempt: Int) -> AttemptTable.StopReason? {
        guard let entry = entries[taskID], entry.attempt == attempt else { return nil }
        return entry.stopReason
    }

    /// Whether the attempt may start, or go on: it was not told to end, and no later attempt at its task has come.
    func mayRun(_ taskID: String, attempt: Int) -> Bool {
        guard let entry = entries[taskID], entry.attempt == attempt, case .running = entry.phase else { return false }
        return true
    }

    var longestGrace: Duration? { entries.values.lazy.filter(\.isRunning).compactMap(\.grace).max() }

    /// Records that an attempt has ended, and adds its report if it has one. Does nothing for an attempt that is not
    /// known or was replaced by a later one.
    mutating func end(_ end: AttemptEnd) {
        guard let index = entries.index(forKey: end.attempt.id), entries.values[index].attempt == end.attempt.number,
            entries.values[index].isRunning
        else { return }
        runningCount -= 1
        noteWork()
        let reason = entries.values[index].stopReason
        if let report = end.report(stopped: reason) {
            let since = entries.values[index].since
            entries.values[index] = Entry(attempt: end.attempt.number, since: since, phase: .reported)
            reports.append(report)
        } else {
            leave(AttemptID(taskID: end.attempt.id, number: end.attempt.number), reason ?? .notOurs)
        }
    }

    /// An attempt is over without a report.
    private mutating func leave(_ attempt: AttemptID, _ reason: AttemptTable.StopReason) {
        if reason == .leaseOver { drop(attempt) } else { settle([attempt]) }
    }

    /// The queue has replied to these reports.
    mutating func settle(_ settled: [WorkerClient.Report]) {
        settle(settled.map { AttemptID(taskID: $0.taskID, number: $0.attempt) })
    }

    /// The queue has no leases of these attempts any more.
    private mutating func settle(_ settled: [AttemptID]) {
        if settled.isEmpty { return }
        guard calls.remember(settled) else { return forget(settled) }
        for attempt in settled { markOver(attempt) }
    }

    /// The queue may still have the lease of this attempt, and send it again.
    mutating func drop(_ attempt: AttemptID) {
        markOver(attempt)
        dropped.append(attempt)
        if dropped.count > Self.maxDropped { forget([dropped.removeFirst()]) }
    }

    private mutating func markOver(_ attempt: AttemptID) {
        // If it is not found, a later attempt has replaced it, which is enough to remember.
        _ = update(attempt.taskID, attempt.number) { entry in
            entry = Entry(attempt: entry.attempt, since: entry.since, phase: .over)
        }
    }

    /// Removes the entries of attempts that no reply can bring any more.
    mutating func forget(_ attempts: [AttemptID]) {
        for attempt in attempts {
            if let index = entries.index(forKey: attempt.taskID), entries.values[index].attempt == attempt.number {
                entries.remove(at: index)
            }
        }
    }

    /// Changes the entry of an attempt. Returns nil if it is not known.
    private mutating func update<Result>(
        _ taskID: String, _ attempt: Int, _ change: (inout Entry) -> Result
    ) -> Result? {
        guard let index = entries.index(forKey: taskID), entries.values[index].attempt == attempt else { return nil }
        return change(&entries.values[index])
    }

    /// An attempt whose lease the worker wants to keep.
    struct Leased {
        let id: AttemptID
        let isRunning: Bool
        let since: ContinuousClock.Instant
        let deadline: ContinuousClock.Instant?
        let progress: ByteBuffer?
    }

    /// The attempts that run, including those that were told to end and have not ended yet, and those whose report
    /// waits or is under way.
    var leased: [Leased] {
        entries.compactMap { taskID, entry in
            switch entry.phase {
            case .over, .stopped(.leaseOver): return nil
            case .running, .stopped, .reported: break
            }
            return Leased(
                id: AttemptID(taskID: taskID, number: entry.attempt), isRunning: entry.isRunning, since: entry.since,
                deadline: entry.deadline, progress: entry.progress)
        }
    }
}
