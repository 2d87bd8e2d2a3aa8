import CChildProcess
import Glibc
import Synchronization

/// The life of one child, shared by its handle and the reactor.
///
/// A signal is sent under the same lock under which the child is reaped, so it never reaches a stranger that got the
/// number after it.
final class ChildRecord: Sendable {
    let processID: pid_t
    let output = OutputBuffer()
    private let startedAt: ContinuousClock.Instant
    private let life = Mutex(Life())

    private struct Life {
        var status: ChildProcess.ExitStatus?
        var waiters: [CheckedContinuation<ChildProcess.ExitStatus, Never>] = []
    }

    init(processID: pid_t, startedAt: ContinuousClock.Instant) {
        self.processID = processID
        self.startedAt = startedAt
    }

    var status: ChildProcess.ExitStatus? { life.withLock { $0.status } }

    func signalGroup(_ signal: Int32) {
        life.withLock { life in
            // ESRCH cannot be: until it is reaped the leader, dead or alive, keeps its group in existence.
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

    /// Called once, when the leader has ended (or cannot be watched): ends the rest of its group, then collects it.
    func reap(guardian: Guardian) {
        let (status, waiters) = life.withLock { life in
            // Until it is reaped, its number and its group are ours. The leader itself first: one that could not be
            // watched may not have made its group yet. A member that is forking just now does not escape: the kernel
            // lets no fork finish past a pending SIGKILL.
            _ = kill(processID, SIGKILL)
            _ = kill(-processID, SIGKILL)
            guardian.forget(processID)
            let status = collect()
            life.status = status
            defer { life.waiters = [] }
            return (status, life.waiters)
        }
        for waiter in waiters { waiter.resume(returning: status) }
    }

    private func collect() -> ChildProcess.ExitStatus {
        var ended = sw_exit()
        let error = sw_reap(processID, &ended)
        let known = error == 0
        return ChildProcess.ExitStatus(
            exitCode: known && ended.signal == 0 ? ended.exit_code : nil,
            signal: known && ended.signal != 0 ? ended.signal : nil,
            duration: ContinuousClock.now - startedAt,
            userTime: Double(ended.user_us) / 1_000_000,
            systemTime: Double(ended.system_us) / 1_000_000,
            maxResidentBytes: ended.max_resident_bytes)
    }
}
