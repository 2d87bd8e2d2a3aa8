import NIOCore
import Switchyard
import Synchronization

/// The attempts of a worker in one partition, and the calls that it makes next.
///
/// An attempt is in the table from its assignment until the queue replies to its report. An attempt that was stopped is
/// reported only if its time limit stopped it.
///
/// Two pollers make the calls, each an ``Exchange``: it reports what has ended since the last one, and pulls as many
/// tasks as slots are free. While one call is under way, the second is made only if it is full, so that Redis has the
/// next call at hand when it has replied to the first. Otherwise there is one call at a time, made without delay.
///
/// The table does no I/O. It holds the lock and resumes the waiting loops; ``HeldAttempts`` decides.
final class AttemptTable: Sendable {
    /// One call of a poller.
    struct Exchange {
        /// The number of the call.
        var call: CallsUnderWay.Number = -1
        /// The reports to send.
        var reports: [WorkerClient.Report] = []
        /// How many tasks to pull.
        var want = 0
        /// How many bytes the pulled tasks may have; nil: as many as the functions allow.
        var maxBytes: Int?
        /// How many attempts the worker knows of, without those reported here, plus those that another call under way
        /// may bring.
        var holding = 0
        /// `holding` is exact, so the reply brings every attempt that the worker does not know of.
        var reconciles = false
        /// If not empty, the poller makes no call: it starts these assignments, which waited for slots.
        var starts: [WorkerClient.Assignment] = []
    }

    /// The pull that follows a sleep.
    ///
    /// It does not tell how many attempts the worker knows of, because that may change during the sleep: the queue
    /// would send again what the worker has by then.
    struct Sleep {
        /// The number of the call.
        var call: CallsUnderWay.Number
        /// How many tasks to pull: at most the slots that are free.
        var want: Int
        /// How many bytes the pulled tasks may have; nil: as many as the functions allow.
        var maxBytes: Int?
    }

    /// Why an attempt was stopped.
    enum StopReason: Sendable {
        /// The queue has ended the attempt, or this worker gives it up: only the end of its process is reported.
        case notOurs
        /// The lease ends by the worker's own clock, because heartbeats have no reply: the attempt is not reported. The
        /// queue may still have its lease.
        case leaseOver
        /// The time limit is over: the attempt is reported as timed out.
        case timeLimit
        /// The worker drains, and does not wait any longer: the attempt is handed back.
        case drained
    }

    private typealias Poller = UnsafeContinuation<Exchange?, Never>

    private struct State {
        var attempts: HeldAttempts
        /// Pollers that wait for an exchange, in the order in which they came.
        var pollers: [Poller] = []
        /// Waits until the worker has nothing to do but sleep.
        var sleeper: UnsafeContinuation<Sleep?, Never>?

        /// Chooses which loops to resume. Of the waiting pollers the last to come is first, because its thread is still
        /// awake.
        mutating func dispatch(_ grant: SlotGrant?) -> Dispatched {
            var dispatched = Dispatched()
            if pollers.isEmpty, let grant { dispatched.next = grant.budget.stopWaiting(grant.partition) }
            while let poller = pollers.last {
                if let grant { dispatched.next = attempts.settle(with: grant) }
                let exchange = attempts.nextExchange(now: .now)
                guard exchange != nil || attempts.isOver else { break }
                pollers.removeLast()
                dispatched.exchanges.append((poller, exchange))
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

    /// What to do once the lock is released.
    private struct Dispatched {
        var exchanges: [(poller: Poller, exchange: Exchange?)] = []
        var sleeper: (continuation: UnsafeContinuation<Sleep?, Never>, sleep: Sleep?)?
        /// Another partition to notify, because there are free slots for it.
        var next: Int?
    }

    private let state: Mutex<State>
    private let grant: SlotGrant?

    /// - Parameter grant: this table's share of the slots, if the worker serves several partitions; otherwise nil.
    init(slots: Int, grant: SlotGrant? = nil) {
        self.grant = grant
        state = Mutex(State(attempts: HeldAttempts(slots: slots, isSpread: grant != nil, now: .now)))
        grant?.budget.listen(grant?.partition ?? 0) { [weak self] in self?.change { _ in } }
    }

    /// Makes a change, then resumes the loops that can go on after it.
    private func change(_ body: (inout sending HeldAttempts) -> Void) {
        let dispatched = state.withLock { state in
            body(&state.attempts)
            return state.dispatch(grant)
        }
        carryOut(dispatched)
    }

    private func carryOut(_ dispatched: Dispatched) {
        for (poller, exchange) in dispatched.exchanges { poller.resume(returning: exchange) }
        if let (continuation, sleep) = dispatched.sleeper { continuation.resume(returning: sleep) }
        grant?.budget.notify(dispatched.next)
    }

    // MARK: Pollers

    /// Waits for the next exchange and returns it, or nil once there will be none: the worker has drained, or the table
    /// is closed. Cancelling the calling task closes the table.
    func nextExchange() async -> Exchange? {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { poller in
                let dispatched = state.withLock { state in
                    state.pollers.append(poller)
                    return state.dispatch(grant)
                }
                carryOut(dispatched)
            }
        } onCancel: {
            change { $0.close() }
        }
    }

    /// Records the reply to an exchange. Returns the assignments to start: the new ones, as far as there are slots for
    /// them, and those that waited for a slot.
    ///
    /// An assignment may not be new, because the queue sends it again when a reply may have been lost. The caller
    /// starts the returned assignments and then calls ``nextExchange()``.
    /// - Parameter isCertain: false if Redis may have executed an earlier try of the same call.
    func settle(
        _ exchange: Exchange, _ assignments: [WorkerClient.Assignment], isCertain: Bool
    ) -> [WorkerClient.Assignment] {
        let (new, outdated) = state.withLock { state in
            let now = ContinuousClock.now
            let (new, outdated) = state.attempts.add(assignments, now: now)
            state.attempts.settle(exchange, assigned: new.count, isCertain: isCertain, now: now)
            return (grant.map { state.attempts.startable(new, $0) } ?? new, outdated)
        }
        for work in outdated { work.cancel() }
        return new
    }

    /// Records that an exchange failed. Its reports go with the next one.
    func giveBack(_ exchange: Exchange) {
        let next = state.withLock { state in
            state.attempts.giveBack(exchange)
            return grant.flatMap { state.attempts.settle(with: $0) }
        }
        grant?.budget.notify(next)
    }

    /// See ``HeldAttempts/settleOneByOne(_:unsent:refused:)``.
    func settleOneByOne(_ exchange: Exchange, unsent: [WorkerClient.Report], refused: [WorkerClient.Report]) {
        change { $0.settleOneByOne(exchange, unsent: unsent, refused: refused) }
    }

    /// Records the ends of attempts without resuming a loop. The caller's next call, ``nextExchange()`` or
    /// ``nextSleep()``, does that.
    func endAtOnce(_ ends: [AttemptEnd]) {
        state.withLock { state in
            for end in ends { state.attempts.end(end) }
        }
    }

    // MARK: Sleep

    /// Waits until there is nothing to do but wait for a wake-up. The worker then counts as sleeping until
    /// ``wakeUp(_:_:)`` or ``breakSleep(_:)``. Returns nil if the worker takes no more tasks. Only one caller may wait.
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
            change { $0.close() }
        }
    }

    /// Records that the sleep is over and brought these assignments. Returns those that are new.
    func wakeUp(_ sleep: Sleep, _ assignments: [WorkerClient.Assignment]) -> [WorkerClient.Assignment] {
        let (new, outdated, dispatched) = state.withLock { state in
            let (new, outdated) = state.attempts.add(assignments, now: .now)
            state.attempts.wakeUp(sleep, assigned: new.count)
            return (new, outdated, state.dispatch(grant))
        }
        carryOut(dispatched)
        for work in outdated { work.cancel() }
        return new
    }

    /// Records that the sleep failed. The reply to the pull that follows it may be lost.
    func breakSleep(_ sleep: Sleep) {
        change { $0.breakSleep(sleep) }
    }

    var isSleeping: Bool { state.withLock { $0.attempts.isSleeping } }

    // MARK: Events

    /// Records that there may be work.
    func noteWork() {
        change { $0.noteWork() }
    }

    /// Records a wake-up. Until now the queue listed this worker as idle.
    func noteWakeUp() {
        change { $0.noteWakeUp() }
    }

    /// Gives other partitions the slots that a call has asked for, if its reply does not arrive for long.
    func recall() {
        guard let grant else { return }
        grant.budget.notify(state.withLock { $0.attempts.recall(grant, now: .now) })
    }

    /// From now on no tasks are pulled.
    func drain() {
        change { $0.drain() }
    }

    var isDraining: Bool { state.withLock { $0.attempts.isDraining } }
    var isClosed: Bool { state.withLock { $0.attempts.isClosed } }

    /// From now on no tasks are pulled, or they are again.
    func setAside(_ isSetAside: Bool) {
        change { attempts in
            attempts.isSetAside = isSetAside
            if !isSetAside { attempts.noteWork() }
        }
    }

    /// Sets the Swift task to cancel when the attempt is stopped. Cancels it at once if the attempt was stopped before.
    func attach(_ work: Task<Void, Never>, to taskID: String, attempt: Int, deadline: ContinuousClock.Instant) {
        let isStopped = state.withLock {
            $0.attempts.attach(work, to: taskID, attempt: attempt, deadline: deadline)
        }
        if isStopped { work.cancel() }
    }

    /// Records that an attempt has ended.
    func end(_ end: AttemptEnd) {
        change { $0.end(end) }
    }

    /// Stops an attempt. Returns whether it was running and not yet stopped; a later stop does not change the reason.
    @discardableResult
    func stop(_ taskID: String, attempt: Int, _ reason: StopReason) -> Bool {
        let (isStopped, work) = state.withLock { $0.attempts.stop(taskID, attempt: attempt, reason) }
        work?.cancel()
        return isStopped
    }

    /// Why the attempt was stopped; nil if it was not.
    func stopReason(of attempt: Attempt) -> StopReason? {
        state.withLock { $0.attempts.stopReason(of: attempt.id, attempt: attempt.number) }
    }

    /// See ``HeldAttempts/mayRun(_:attempt:)``.
    func mayRun(_ attempt: Attempt) -> Bool {
        state.withLock { $0.attempts.mayRun(attempt.id, attempt: attempt.number) }
    }

    /// Stops all attempts.
    func stopAll(_ reason: StopReason = .notOurs) {
        for attempt in leased where attempt.isRunning { stop(attempt.id.taskID, attempt: attempt.id.number, reason) }
    }

    /// Stops the attempts that the worker has learned of before this time; none of them is reported.
    /// - Returns: how many.
    func stopUnrenewed(from before: ContinuousClock.Instant) -> Int {
        leased.count { attempt in
            attempt.isRunning && attempt.since <= before
                && stop(attempt.id.taskID, attempt: attempt.id.number, .leaseOver)
        }
    }

    /// Stops all attempts, and closes the table: there are no further exchanges.
    func abandon() {
        stopAll()
        change { $0.close() }
    }

    /// Stops the attempts whose deadline has passed. Returns the earliest deadline of the others.
    func stopOverdue(now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        var next: ContinuousClock.Instant?
        for attempt in leased {
            guard let deadline = attempt.deadline else { continue }
            if deadline <= now {
                stop(attempt.id.taskID, attempt: attempt.id.number, .timeLimit)
            } else {
                next = min(next ?? deadline, deadline)
            }
        }
        return next
    }

    func setProgress(_ taskID: String, attempt: Int, _ progress: ByteBuffer) {
        state.withLock { $0.attempts.setProgress(taskID, attempt: attempt, progress) }
    }

    /// The longest grace that a task of a running attempt asks for; nil if none does.
    var longestGrace: Duration? { state.withLock { $0.attempts.longestGrace } }

    /// How many attempts have not ended yet.
    var runningCount: Int { state.withLock { $0.attempts.runningCount } }

    /// The attempts whose leases the heartbeat renews.
    var leased: [HeldAttempts.Leased] { state.withLock { $0.attempts.leased } }
}
