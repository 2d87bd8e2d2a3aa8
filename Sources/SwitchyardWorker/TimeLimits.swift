import Synchronization

/// Stops attempts whose time is over: one timer for all of them, set to the earliest deadline.
///
/// Deadlines mostly come in order, and attempts mostly end before theirs, so the timer is set once for very many attempts;
/// when it goes off, everything that runs is looked at.
final class TimeLimits: Sendable {
    private struct State {
        var alarm: (time: ContinuousClock.Instant, task: Task<Void, Never>)?
        var isOver = false
    }

    private let table: AttemptTable
    private let state = Mutex(State())

    init(table: AttemptTable) {
        self.table = table
    }

    /// An attempt that is in the table has this deadline.
    func watch(_ deadline: ContinuousClock.Instant) {
        let replaced: Task<Void, Never>? = state.withLock { state in
            if state.isOver { return nil }
            if let alarm = state.alarm, alarm.time <= deadline { return nil }
            let former = state.alarm?.task
            let task = Task {
                guard (try? await Task.sleep(until: deadline, clock: .continuous)) != nil else { return }
                ring()
            }
            state.alarm = (deadline, task)
            return former
        }
        replaced?.cancel()
    }

    private func ring() {
        // Cleared before the attempts are looked at: one that comes meanwhile is either seen or sets the timer.
        state.withLock { $0.alarm = nil }
        if let next = table.stopOverdue(now: .now) { watch(next) }
    }

    func end() {
        let alarm = state.withLock { state in
            state.isOver = true
            defer { state.alarm = nil }
            return state.alarm
        }
        alarm?.task.cancel()
    }
}
