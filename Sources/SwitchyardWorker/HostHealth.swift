import Switchyard
import Synchronization

/// Counts the attempts in a row that the worker's host could not run, and sets the worker aside after five of them: it
/// takes no tasks for a minute, then for twice as long each time, until an attempt runs again. Otherwise a broken host
/// takes one task after the other, because it is always free.
final class HostHealth: Sendable {
    private struct State {
        var faultsInRow = 0
        var pause: Duration
        var isSetAside = false
        var note: String?
        var listeners: [@Sendable (Bool) -> Void] = []
    }

    private let state: Mutex<State>
    private let firstPause: Duration

    private static let maxFaults = 5
    private static let longestPause: Duration = .seconds(3600)

    init(firstPause: Duration) {
        self.firstPause = firstPause
        state = Mutex(State(pause: firstPause))
    }

    /// Adds a callback for when the worker is set aside (true), and when it takes tasks again (false).
    func listen(_ onChange: @escaping @Sendable (Bool) -> Void) {
        state.withLock { $0.listeners.append(onChange) }
    }

    /// Records that an attempt could be run.
    func noteRun() {
        state.withLock { state in
            state.faultsInRow = 0
            state.pause = firstPause
        }
    }

    /// What the worker registers for people: why it takes no tasks, or an empty text afterwards. Nil if it was never
    /// set aside.
    var note: String? { state.withLock { $0.note } }

    /// Records that the host could not run an attempt. Returns how long the worker is set aside, if that begins now.
    func noteFault(_ reason: String) -> Duration? {
        let pause = state.withLock { state -> Duration? in
            state.faultsInRow += 1
            guard state.faultsInRow >= Self.maxFaults, !state.isSetAside else { return nil }
            state.isSetAside = true
            state.note = "set aside for \(Int(state.pause.seconds)) s: \(reason)".prefix(maxBytes: 300)
            defer { state.pause = min(state.pause * 2, Self.longestPause) }
            return state.pause
        }
        if let pause {
            tell(true)
            Task {
                // Nobody cancels this.
                try? await Task.sleep(for: pause)
                state.withLock { state in
                    state.isSetAside = false
                    state.note = ""
                }
                tell(false)
            }
        }
        return pause
    }

    private func tell(_ isSetAside: Bool) {
        for listener in state.withLock({ $0.listeners }) { listener(isSetAside) }
    }
}

extension QueueLoop {
    /// Records whether the host could run an attempt. An attempt that it could not run goes back to the queue.
    func noteHost(_ attempt: Attempt, _ outcome: AttemptOutcome) async {
        guard case .handedBack(let reason) = outcome else { return host.noteRun() }
        logger.warning(
            "this host cannot run an attempt, which goes back to the queue",
            metadata: ["task_id": "\(attempt.id)", "attempt": "\(attempt.number)", "reason": "\(reason)"])
        if let pause = host.noteFault(reason) {
            logger.error(
                "this host could not run several attempts in a row: the worker takes no tasks for a while",
                metadata: ["pause": "\(pause)", "reason": "\(reason)"])
        }
        // A cancelled Swift task cannot send.
        await Task { await handBack(attempt, reason) }.value
    }

    func handBack(_ attempt: Attempt, _ reason: String) async {
        await handBack(attempt) {
            _ = try await self.link.handBack(
                taskID: attempt.id, attempt: attempt.number, reason: reason.prefix(maxBytes: 4096))
        }
    }

    /// Calls the queue until it has taken the attempt back, or refuses.
    func handBack(_ attempt: Attempt, _ call: @Sendable () async throws -> Void) async {
        var backoff = Self.backoff()
        while !table.isClosed {
            do {
                try await call()
                return
            } catch SchedulerError.internal(_, redisAway: true) {
                // The attempt counts as running, so its lease is renewed. Nobody cancels this task.
                try? await Task.sleep(for: backoff.nextDelay())
            } catch {
                logger.warning(
                    "an attempt was not taken back; its lease has ended, or will expire",
                    metadata: ["task_id": "\(attempt.id)", "error": "\(error)"])
                return
            }
        }
    }

    /// Takes tasks no more, or again.
    func setAside(_ isSetAside: Bool) {
        table.setAside(isSetAside)
        if !isSetAside { logger.notice("the worker takes tasks again") }
        Task {
            if isSetAside, table.isSleeping { await endSleep() }
            // Its note shows in the list of workers. For the queue, a worker that registers is awake: it pulls.
            await register()
            table.noteWork()
        }
    }
}
