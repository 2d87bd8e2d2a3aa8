import NIOCore
import Switchyard
import Synchronization

/// What a worker holds: the attempts that run, and the reports of those that ended and are not yet delivered.
///
/// It decides, and does no I/O. An attempt is in it from its assignment until its report is accepted; who stops it says
/// why, and only an attempt that was not stopped, or was stopped by its time limit, is reported.
final class AttemptTable: Sendable {
    enum StopReason: Sendable {
        /// The task was cancelled, or another worker has it: its end concerns nobody any more.
        case notOurs
        case timeLimit
    }

    private struct Entry {
        let attempt: Int
        var progress: ByteBuffer?
        var work: Task<Void, Never>?
        var stopped: StopReason?
    }

    private struct State {
        var running: [String: Entry] = [:]
        var reports: [WorkerProtocol.Report] = []
        var isDraining = false
        /// There may be work: at the start, after a wake-up, and when a wait was over without one.
        var mayHaveWork = true
    }

    private let slots: Int
    private let state = Mutex(State())
    /// Has a value whenever `nextTurn` may answer something new.
    let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    init(slots: Int) {
        self.slots = slots
        (signals, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        signal.yield()
    }

    // MARK: What to ask Redis next

    struct Turn {
        /// To deliver now.
        var reports: [WorkerProtocol.Report]
        /// How many tasks to ask for.
        var want: Int
        /// How many attempts the worker will know of once the reports are delivered.
        var holding: Int
    }

    /// The next call: reports to deliver, tasks to ask for. Nil: nothing to do until the next signal.
    func nextTurn() -> Turn? {
        state.withLock { state in
            let want = state.isDraining ? 0 : min(slots - state.running.count, 100)
            guard !state.reports.isEmpty || (want > 0 && state.mayHaveWork) else { return nil }
            defer { state.reports = [] }
            state.mayHaveWork = false
            return Turn(reports: state.reports, want: want, holding: state.running.count)
        }
    }

    /// The call of a turn failed: its reports are delivered with the next one.
    func giveBack(_ turn: Turn) {
        state.withLock { state in
            state.reports = turn.reports + state.reports
            state.mayHaveWork = true
        }
        signal.yield()
    }

    func noteWork() {
        state.withLock { $0.mayHaveWork = true }
        signal.yield()
    }

    func drain() {
        state.withLock { $0.isDraining = true }
        signal.yield()
    }

    var isDraining: Bool { state.withLock { $0.isDraining } }
    /// Draining, and nothing runs or waits to be delivered.
    var isDone: Bool { state.withLock { $0.isDraining && $0.running.isEmpty && $0.reports.isEmpty } }

    // MARK: The life of an attempt

    /// False when the attempt runs already: assignments are sent again when a reply may have been lost.
    func begin(_ taskID: String, attempt: Int) -> Bool {
        state.withLock { state in
            if state.running[taskID]?.attempt == attempt || state.reports.contains(where: { $0.taskID == taskID }) {
                return false
            }
            state.running[taskID] = Entry(attempt: attempt)
            return true
        }
    }

    /// Gives the table what to cancel; an attempt stopped meanwhile is cancelled at once.
    func attach(_ work: Task<Void, Never>, to taskID: String, attempt: Int) {
        let stopped = state.withLock { state in
            guard state.running[taskID]?.attempt == attempt else { return false }
            state.running[taskID]?.work = work
            return state.running[taskID]?.stopped != nil
        }
        if stopped { work.cancel() }
    }

    /// Stops an attempt, if it still runs. The first reason stands.
    func stop(_ taskID: String, attempt: Int, _ reason: StopReason) {
        let work: Task<Void, Never>? = state.withLock { state in
            guard let entry = state.running[taskID], entry.attempt == attempt, entry.stopped == nil else { return nil }
            state.running[taskID]?.stopped = reason
            return entry.work
        }
        work?.cancel()
    }

    func stopAll() {
        let running = state.withLock { $0.running.map { ($0.key, $0.value.attempt) } }
        for (taskID, attempt) in running { stop(taskID, attempt: attempt, .notOurs) }
    }

    /// An attempt is over. `report` is called with what stopped it, and answers what to deliver, if anything.
    func end(_ taskID: String, attempt: Int, report: (StopReason?) -> WorkerProtocol.Report?) {
        state.withLock { state in
            guard let entry = state.running[taskID], entry.attempt == attempt else { return }
            state.running[taskID] = nil
            if let report = report(entry.stopped) { state.reports.append(report) }
            state.mayHaveWork = true
        }
        signal.yield()
    }

    func setProgress(_ taskID: String, attempt: Int, _ progress: ByteBuffer) {
        state.withLock { state in
            if state.running[taskID]?.attempt == attempt { state.running[taskID]?.progress = progress }
        }
    }

    /// For the heartbeat: those that run, and those whose report is under way, whose lease must live until it arrives.
    var held: [(taskID: String, attempt: Int, progress: ByteBuffer?)] {
        state.withLock { state in
            state.running.map { ($0.key, $0.value.attempt, $0.value.progress) }
                + state.reports.map { ($0.taskID, $0.attempt, nil) }
        }
    }
}
