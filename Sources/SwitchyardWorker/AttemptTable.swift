import NIOCore
import Switchyard
import Synchronization

/// What a worker holds, and what it asks its queue next.
///
/// An attempt is in it from its assignment until its report is accepted; who stops it says why, and only an attempt that
/// was not stopped, or was stopped by its time limit, is reported. Two couriers carry ``Turn``s to Redis: everything that
/// has ended since the last one, and a request for as many tasks as slots are free. The second sets out while the first is
/// under way only with a full load, so that Redis finds the next call waiting when it has answered one; a worker that is
/// not pressed makes one call at a time, at once. It does no I/O; ``HeldAttempts`` decides.
final class AttemptTable: Sendable {
    /// One call of a courier.
    struct Turn {
        /// To deliver now.
        var reports: [WorkerProtocol.Report]
        /// How many tasks to ask for.
        var want: Int
        /// How many attempts the worker knows of once the reports are delivered, and those that another call under way
        /// may bring.
        var holding: Int
        /// Its `holding` is exact, and its answer brings whatever we do not know of.
        var counts: Bool
        /// No call, but assignments that waited for slots and are to start.
        var starts: [WorkerProtocol.Assignment] = []
    }

    /// What a worker says before it sleeps.
    struct Sleep {
        /// How many slots are free.
        var want: Int
        var holding: Int
    }

    enum StopReason: Sendable {
        /// The task was cancelled, or another worker has it: its end concerns nobody any more.
        case notOurs
        case timeLimit
    }

    private typealias Courier = UnsafeContinuation<Turn?, Never>

    private struct State {
        var attempts: HeldAttempts
        /// Who waits for a turn.
        var couriers: [Courier] = []
        /// Who waits until there is nothing to do but sleep.
        var sleeper: UnsafeContinuation<Sleep?, Never>?

        /// Gives turns to waiting couriers: the last to come first, whose thread is still awake.
        mutating func dispatch(_ grant: SlotGrant?) -> Dispatched {
            var dispatched = Dispatched()
            if couriers.isEmpty, let grant { dispatched.next = grant.budget.leave(grant.partition) }
            while let courier = couriers.last {
                if let grant { dispatched.next = attempts.settle(with: grant) }
                let turn = attempts.nextTurn()
                guard turn != nil || attempts.isOver else { break }
                couriers.removeLast()
                dispatched.turns.append((courier, turn))
            }
            if let sleeper {
                let sleep = attempts.nextSleep()
                if sleep != nil || attempts.isClosed || attempts.isDraining {
                    self.sleeper = nil
                    dispatched.sleeper = (sleeper, sleep)
                }
            }
            return dispatched
        }
    }

    /// What is to be done when the lock is released.
    private struct Dispatched {
        var turns: [(courier: Courier, turn: Turn?)] = []
        var sleeper: (continuation: UnsafeContinuation<Sleep?, Never>, sleep: Sleep?)?
        /// Another partition for which there are slots.
        var next: Int?
    }

    private let state: Mutex<State>
    private let grant: SlotGrant?

    /// - Parameter grant: of a worker of several partitions, which share its slots.
    init(slots: Int, grant: SlotGrant? = nil) {
        self.grant = grant
        state = Mutex(State(attempts: HeldAttempts(slots: slots, isSpread: grant != nil)))
        grant?.budget.listen(grant?.partition ?? 0) { [weak self] in self?.change { _ in } }
    }

    /// A change after which there may be a turn to take.
    private func change(_ body: (inout sending HeldAttempts) -> Void) {
        let dispatched = state.withLock { state in
            body(&state.attempts)
            return state.dispatch(grant)
        }
        carryOut(dispatched)
    }

    private func carryOut(_ dispatched: Dispatched) {
        for (courier, turn) in dispatched.turns { courier.resume(returning: turn) }
        if let (continuation, sleep) = dispatched.sleeper { continuation.resume(returning: sleep) }
        grant?.budget.tell(dispatched.next)
    }

    // MARK: Couriers

    /// The next call, as soon as there is something to say. Nil: there never will be, because the worker has drained or
    /// the table was closed. Cancelling the task closes it.
    func nextTurn() async -> Turn? {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { courier in
                let dispatched = state.withLock { state in
                    state.couriers.append(courier)
                    return state.dispatch(grant)
                }
                carryOut(dispatched)
            }
        } onCancel: {
            change { $0.isClosed = true }
        }
    }

    /// A courier's call was answered. Holds what it assigned, and answers what of it is new: assignments are sent again
    /// when a reply may have been lost. The courier starts these and takes its next turn.
    /// - Parameter isCertain: false if an earlier try of the same call may have been carried out.
    func settle(
        _ turn: Turn, _ assignments: [WorkerProtocol.Assignment], isCertain: Bool
    ) -> [WorkerProtocol.Assignment] {
        let (new, outdated) = state.withLock { state in
            state.attempts.settle(turn, assigned: assignments.count, isCertain: isCertain)
            let (new, outdated) = state.attempts.add(assignments)
            return (grant.map { state.attempts.startable(new, $0) } ?? new, outdated)
        }
        for work in outdated { work.cancel() }
        return new
    }

    /// A courier's call failed: its reports are delivered with the next one.
    func giveBack(_ turn: Turn) {
        let next = state.withLock { state in
            state.attempts.giveBack(turn)
            return grant.flatMap { state.attempts.settle(with: $0) }
        }
        grant?.budget.tell(next)
    }

    /// As ``end(_:)``, by a courier before it takes its next turn.
    func endAtOnce(_ ends: [AttemptEnd]) {
        state.withLock { state in
            for end in ends { state.attempts.end(end) }
        }
    }

    // MARK: Sleep

    /// Waits until there is nothing to do but wait for a wake-up; the table then takes it for sleeping until
    /// ``wakeUp(_:_:)``. Nil: it takes no more tasks. One at a time.
    func nextSleep() async -> Sleep? {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { sleeper in
                let dispatched = state.withLock { state in
                    state.sleeper = sleeper
                    return state.dispatch(grant)
                }
                carryOut(dispatched)
            }
        } onCancel: {
            change { $0.isClosed = true }
        }
    }

    /// The sleep is over, and has brought assignments. Holds them, and answers what of it is new.
    func wakeUp(_ sleep: Sleep, _ assignments: [WorkerProtocol.Assignment]) -> [WorkerProtocol.Assignment] {
        let (new, outdated, dispatched) = state.withLock { state in
            let (new, outdated) = state.attempts.add(assignments)
            state.attempts.wakeUp(mayHaveMore: assignments.count >= sleep.want)
            return (new, outdated, state.dispatch(grant))
        }
        carryOut(dispatched)
        for work in outdated { work.cancel() }
        return new
    }

    /// The sleep was broken, and what a pull brought after it may be lost.
    func breakSleep() {
        change { $0.breakSleep() }
    }

    var isSleeping: Bool { state.withLock { $0.attempts.isSleeping } }

    // MARK: Events

    func noteWork() {
        change { $0.mayHaveWork = true }
    }

    /// The queue has taken it for idle until now.
    func noteWakeUp() {
        change { $0.noteWakeUp() }
    }

    /// Lets other partitions have the slots for which a call asks that is not answered for long.
    func recall() {
        guard let grant else { return }
        grant.budget.tell(state.withLock { $0.attempts.recall(grant) })
    }

    func drain() {
        change { $0.isDraining = true }
    }

    var isDraining: Bool { state.withLock { $0.attempts.isDraining } }

    /// Gives the table what to cancel; an attempt stopped meanwhile is cancelled at once.
    func attach(_ work: Task<Void, Never>, to taskID: String, attempt: Int, deadline: ContinuousClock.Instant) {
        let isStopped = state.withLock {
            $0.attempts.attach(work, to: taskID, attempt: attempt, deadline: deadline)
        }
        if isStopped { work.cancel() }
    }

    /// An attempt is over.
    func end(_ end: AttemptEnd) {
        change { $0.end(end) }
    }

    /// Stops an attempt: answers whether it ran. The first reason stands.
    @discardableResult
    func stop(_ taskID: String, attempt: Int, _ reason: StopReason) -> Bool {
        let (isStopped, work) = state.withLock { $0.attempts.stop(taskID, attempt: attempt, reason) }
        work?.cancel()
        return isStopped
    }

    func stopAll() {
        for attempt in state.withLock({ $0.attempts.running }) {
            stop(attempt.taskID, attempt: attempt.attempt, .notOurs)
        }
    }

    /// Stops everything, and makes no call any more.
    func abandon() {
        stopAll()
        change { $0.isClosed = true }
    }

    /// Stops the attempts whose time is over. Answers when that of the next one is.
    func stopOverdue(now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        var next: ContinuousClock.Instant?
        for attempt in state.withLock({ $0.attempts.running }) {
            guard let deadline = attempt.deadline else { continue }
            if deadline <= now {
                stop(attempt.taskID, attempt: attempt.attempt, .timeLimit)
            } else {
                next = min(next ?? deadline, deadline)
            }
        }
        return next
    }

    func setProgress(_ taskID: String, attempt: Int, _ progress: ByteBuffer) {
        state.withLock { $0.attempts.setProgress(taskID, attempt: attempt, progress) }
    }

    /// For the heartbeat: those that run, and those whose report waits, whose lease must live until it arrives.
    var held: [(taskID: String, attempt: Int, progress: ByteBuffer?)] {
        state.withLock { state in
            state.attempts.running.map { ($0.taskID, $0.attempt, $0.progress) }
                + state.attempts.reports.map { ($0.taskID, $0.attempt, nil) }
        }
    }
}
