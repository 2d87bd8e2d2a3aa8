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

        /// Gives turns to waiting couriers: the last to come first, whose thread is still awake.
        mutating func dispatch() -> [(Courier, Turn?)] {
            var dispatched: [(Courier, Turn?)] = []
            while let courier = couriers.last {
                let turn = attempts.nextTurn()
                guard turn != nil || attempts.isOver else { break }
                couriers.removeLast()
                dispatched.append((courier, turn))
            }
            return dispatched
        }
    }

    private let state: Mutex<State>

    init(slots: Int) {
        state = Mutex(State(attempts: HeldAttempts(slots: slots)))
    }

    /// A change after which there may be a turn to take.
    private func change(_ body: (inout sending HeldAttempts) -> Void) {
        let dispatched = state.withLock { state in
            body(&state.attempts)
            return state.dispatch()
        }
        for (courier, turn) in dispatched { courier.resume(returning: turn) }
    }

    // MARK: Couriers

    /// The next call, as soon as there is something to say. Nil: there never will be, because the worker has drained or
    /// the table was closed. Cancelling the task closes it.
    func nextTurn() async -> Turn? {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { courier in
                let dispatched = state.withLock { state in
                    state.couriers.append(courier)
                    return state.dispatch()
                }
                for (courier, turn) in dispatched { courier.resume(returning: turn) }
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
            return state.attempts.add(assignments)
        }
        for work in outdated { work.cancel() }
        return new
    }

    /// A courier's call failed: its reports are delivered with the next one.
    func giveBack(_ turn: Turn) {
        state.withLock { $0.attempts.giveBack(turn) }
    }

    /// As ``end(_:)``, by a courier before it takes its next turn.
    func endAtOnce(_ ends: [AttemptEnd]) {
        state.withLock { state in
            for end in ends { state.attempts.end(end) }
        }
    }

    // MARK: Events

    func noteWork() {
        change { $0.mayHaveWork = true }
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
