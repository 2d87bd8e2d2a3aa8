import CChildProcess
import Glibc
import Synchronization

/// Our side of the guardian process (see guardian.c), and the list of groups that it guards.
///
/// There is one per process, forked at the first start of a child. Children are forked under its lock, so a group is
/// either in the list, which a new guardian receives in full, or not forked yet. If the guardian dies, it is replaced
/// at once; if it lived for less than a second (something kills guardians), it is replaced at the next start of a
/// child. One that is stopped (SIGSTOP) is killed and replaced when a message to it finds no room.
final class Guardian: Sendable {
    private struct State {
        var processID: pid_t = 0
        var socket: Int32 = -1
        var startedAt: ContinuousClock.Instant?
        var groups: Set<pid_t> = []
    }

    private let state = Mutex(State())
    /// Add the socket to the reactor's epoll set and remove it: the socket hangs up when the guardian dies.
    private let watch: @Sendable (Int32) -> Void
    private let unwatch: @Sendable (Int32) -> Void

    init(watch: @escaping @Sendable (Int32) -> Void, unwatch: @escaping @Sendable (Int32) -> Void) {
        self.watch = watch
        self.unwatch = unwatch
    }

    /// 0 if there is no guardian. For tests.
    var processID: pid_t { state.withLock { $0.processID } }

    /// Starts a guardian if none lives, calls `fork` with its socket, and adds the group that `fork` returns to the
    /// list.
    func start(fork: (Int32) -> Result<pid_t, SystemFailure>) throws(SystemFailure) -> pid_t {
        let result = state.withLock { state -> Result<pid_t, SystemFailure> in
            guard state.groups.count < ChildProcess.limit else {
                return .failure(SystemFailure(what: "", code: EAGAIN, isLimit: true))
            }
            if state.processID == 0 || sw_guardian_tell(state.socket, 0) != 0 {
                let code = replace(&state)
                guard code == 0 else {
                    return .failure(SystemFailure(what: "the guardian process could not be started", code: code))
                }
            }
            let result = fork(state.socket)
            if case .success(let processID) = result { state.groups.insert(processID) }
            return result
        }
        return try result.get()
    }

    /// Removes a group. Called before its leader is reaped, while its ID cannot belong to another process.
    func forget(_ group: pid_t) {
        state.withLock { state in
            state.groups.remove(group)
            // If the guardian is dead, its successor receives only the groups that are left. One that is stopped must
            // not kill, when it goes on, a later group with this ID.
            if state.processID != 0, sw_guardian_tell(state.socket, -group) == EAGAIN { _ = replace(&state) }
        }
    }

    /// Calls `body` with the processes that are ours to reap one by one: the leaders of the groups, and the guardian.
    /// No child is forked during the call.
    func withOwnChildren(_ body: (Set<pid_t>) -> Void) {
        state.withLock { body($0.groups.union([$0.processID])) }
    }

    /// Called by the reactor when `socket` hangs up.
    func hungUp(_ socket: Int32) {
        state.withLock { state in
            // The event may be an old one: of the former guardian's socket, whose descriptor the new one's has now.
            guard state.socket == socket, Self.hasHungUp(socket) else { return }
            let lived = state.startedAt.map { ContinuousClock.now - $0 } ?? .zero
            // Otherwise, and if the fork fails, the next start replaces it.
            if lived >= .seconds(1) { _ = replace(&state) } else { bury(&state) }
        }
    }

    private static func hasHungUp(_ socket: Int32) -> Bool {
        var entry = pollfd(fd: socket, events: 0, revents: 0)
        return poll(&entry, 1, 0) == 1 && Int32(entry.revents) & POLLHUP != 0
    }

    /// Starts a new guardian of all groups. Returns 0 or an errno value.
    private func replace(_ state: inout State) -> Int32 {
        bury(&state)
        let groups = Array(state.groups)
        let error = sw_guardian_start(groups, groups.count, &state.processID, &state.socket)
        guard error == 0 else { return error }
        state.startedAt = .now
        watch(state.socket)
        return 0
    }

    private func bury(_ state: inout State) {
        guard state.processID != 0 else { return }
        unwatch(state.socket)
        // Before its socket closes: one that lives would take that for our death, and kill the groups.
        sw_guardian_bury(state.processID)
        close(state.socket)
        state.processID = 0
        state.socket = -1
    }
}
