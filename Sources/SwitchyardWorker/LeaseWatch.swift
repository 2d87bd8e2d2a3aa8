import Logging
import Switchyard
import Synchronization

/// Ends the worker's attempts when their leases end by this process's own clock.
///
/// The queue ends the leases of a worker whose heartbeats do not arrive, and other workers then run its tasks. A worker
/// that is cut off from Redis does not hear of that, so it stops its attempts by itself, early enough for their
/// processes to end before the leases do. The time counts from the moment at which the last heartbeat that got a reply
/// was sent: the queue received it later, so the leases in Redis end no earlier.
final class LeaseWatch: Sendable {
    private struct State {
        var terms: WorkerClient.Terms
        /// When the heartbeat or the registration was sent that last renewed the leases.
        var renewed: ContinuousClock.Instant
        /// When attempts were last stopped.
        var stopped: ContinuousClock.Instant?
    }

    private let table: AttemptTable
    private let grace: Duration
    private let logger: Logger
    /// Nil before the registration.
    private let state = Mutex<State?>(nil)

    /// - Parameter grace: how long attempts may take to end.
    init(table: AttemptTable, grace: Duration, logger: Logger) {
        self.table = table
        self.grace = grace
        self.logger = logger
    }

    /// How long attempts go on after a heartbeat: until there is just the time to end them, and a twentieth of the
    /// lease as a margin. At least half the lease.
    private func hold(_ terms: WorkerClient.Terms) -> Duration {
        max(terms.lease - grace - terms.lease / 20, terms.lease / 2)
    }

    /// The pause between two heartbeats: what the queue asks for, but at least two while attempts go on.
    func pause(_ terms: WorkerClient.Terms) -> Duration { min(terms.heartbeat, hold(terms) / 2) }

    /// Records that the queue has renewed the leases.
    /// - Parameter sent: when the call was sent.
    func renew(sent: ContinuousClock.Instant, _ terms: WorkerClient.Terms) {
        let isFirst = state.withLock { state in
            defer {
                state = State(terms: terms, renewed: max(sent, state?.renewed ?? sent), stopped: state?.stopped)
            }
            return state == nil
        }
        if isFirst, hold(terms) + grace > terms.lease {
            logger.warning(
                "attempts may take longer to end than half the lease: if Redis is away, they may outlast their leases",
                metadata: ["lease": "\(terms.lease)", "grace": "\(grace)"])
        }
    }

    /// Whether the leases that a call brought still last long enough to begin: they do not if the reply comes so late
    /// that attempts begun with it would be stopped already.
    ///
    /// A process that was stopped and continued, or a network that stood still, delivers such replies.
    /// - Parameter sent: when the call was sent. The queue gave the leases later.
    func allowsStart(sent: ContinuousClock.Instant, now: ContinuousClock.Instant) -> Bool {
        state.withLock { state in
            guard let state else { return true }
            // A heartbeat since then has not named these attempts, and has not renewed their leases.
            return now - sent <= hold(state.terms)
        }
    }

    /// Whether the queue may still have leases of attempts that were stopped here. They occupy slots there, so
    /// the worker does not count as idle, and their end may not wake it.
    func mayHaveLeftLeases(now: ContinuousClock.Instant) -> Bool {
        state.withLock { state in
            guard let state, let stopped = state.stopped else { return false }
            return now - stopped < state.terms.lease * 2
        }
    }

    /// Stops attempts whose leases end, until the Swift task is cancelled. The worker has registered before.
    func watch() async {
        while !Task.isCancelled {
            guard let current = state.withLock({ $0 }) else { return }
            let (terms, renewed) = (current.terms, current.renewed)
            let hold = hold(terms)
            let isRepetition = current.stopped.map { $0 > renewed } ?? false
            let end = max(renewed, current.stopped ?? renewed) + hold
            if ContinuousClock.now < end {
                // The sleep fails only when the task is cancelled, which ends the loop.
                try? await Task.sleep(until: end, clock: .continuous)
                continue
            }
            // What has been assigned since the last time has leases of its own.
            let now = ContinuousClock.now
            state.withLock { $0?.stopped = now }
            let count = table.stopUnrenewed(from: isRepetition ? now - hold : now)
            if count > 0 {
                logger.error(
                    "no heartbeat has had a reply: stopping all attempts, because their leases end",
                    metadata: ["attempts": "\(count)", "since": "\(now - renewed)", "lease": "\(terms.lease)"])
            }
        }
    }
}
