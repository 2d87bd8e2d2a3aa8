import CChildProcess
import Glibc
import Synchronization

/// The process ID, output and exit status of one child, shared by its handle and the reactor.
///
/// Signals are sent under the lock under which the child is reaped, so a signal never reaches another process that the
/// system gave the same ID later.
final class ChildRecord: Sendable {
    let processID: pid_t
    let output = OutputBuffer()
    private let startedAt: ContinuousClock.Instant
    private let life = Mutex(Life())

    private struct Life {
        var status: ChildProcess.ExitStatus?
        var endedAt: ContinuousClock.Instant?
        var waiters: [CheckedContinuation<ChildProcess.ExitStatus, Never>] = []
    }

    init(processID: pid_t, startedAt: ContinuousClock.Instant) {
        self.processID = processID
        self.startedAt = startedAt
    }

    var status: ChildProcess.ExitStatus? { life.withLock { $0.status } }

    func signalGroup(_ signal: Int32) {
        life.withLock { life in
            // The result is not needed: until it is reaped, the leader keeps its group in existence, even when dead.
            if life.status == nil { _ = kill(-processID, signal) }
        }
    }

    func waitForExit() async -> ChildProcess.ExitStatus {
        await withCheckedContinuation { continuation in
            let status = life.withLock { life in
                if life.status == nil { life.waiters.append(continuation) }
                return life.status
            }
            if let status { continuation.resume(returning: status) }
        }
    }

    /// Notes that the leader has ended now; it is reaped later.
    func noteEnd() {
        life.withLock { life in
            if life.endedAt == nil { life.endedAt = .now }
        }
    }

    /// Kills the rest of the group, then reaps the leader. Called once, when the leader has ended or cannot be watched.
    func reap(guardian: Guardian) {
        let (status, waiters) = life.withLock { life in
            // Until the leader is reaped, its process ID and group ID cannot be reused. The leader is also killed by
            // itself: if it could not be watched, it may not have created its group yet. A member that is forking does
            // not escape: the kernel completes no fork while SIGKILL is pending.
            _ = kill(processID, SIGKILL)
            _ = kill(-processID, SIGKILL)
            guardian.forget(processID)
            let status = collect(endedAt: life.endedAt ?? .now)
            life.status = status
            defer { life.waiters = [] }
            return (status, life.waiters)
        }
        for waiter in waiters { waiter.resume(returning: status) }
    }

    private func collect(endedAt: ContinuousClock.Instant) -> ChildProcess.ExitStatus {
        var ended = sw_exit()
        let error = sw_reap(processID, &ended)
        let known = error == 0
        return ChildProcess.ExitStatus(
            exitCode: known && ended.signal == 0 ? ended.exit_code : nil,
            signal: known && ended.signal != 0 ? ended.signal : nil,
            duration: endedAt - startedAt,
            userTime: Double(ended.user_us) / 1_000_000,
            systemTime: Double(ended.system_us) / 1_000_000,
            maxResidentBytes: ended.max_resident_bytes)
    }
}
