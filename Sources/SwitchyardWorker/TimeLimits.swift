import Synchronization

/// Stops attempts whose time limit is over, with one timer for all of them, set to the earliest deadline.
///
/// Most deadlines come in ascending order, and most attempts end before theirs, so the timer is rarely set. When it
/// fires, the deadlines of all running attempts are checked.
final class TimeLimits: Sendable {
    private struct State {
        var timer: (time: ContinuousClock.Instant, task: Task<Void, Never>)?
        var isOver = false
    }

    private let table: AttemptTable
    private let state = Mutex(State())

    init(table: AttemptTable) {
        self.table = table
    }

    /// Makes sure that the timer fires no later than this deadline of an attempt in the table.
    func watch(_ deadline: ContinuousClock.Instant) {
        let replaced: Task<Void, Never>? = state.withLock { state in
            if state.isOver { return nil }
            if let timer = state.timer, timer.time <= deadline { return nil }
            let former = state.timer?.task
            let task = Task {
                guard (try? await Task.sleep(until: deadline, clock: .continuous)) != nil else { return }
                fire()
            }
            state.timer = (deadline, task)
            return former
        }
        replaced?.cancel()
    }

    private func fire() {
        // Cleared before the attempts are checked: an attempt added meanwhile is either checked or sets the timer.
        state.withLock { $0.timer = nil }
        if let next = table.stopOverdue(now: .now) { watch(next) }
    }

    /// Cancels the timer for good.
    func end() {
        let timer = state.withLock { state in
            state.isOver = true
            defer { state.timer = nil }
            return state.timer
        }
        timer?.task.cancel()
    }
}
