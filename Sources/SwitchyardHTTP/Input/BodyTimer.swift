import Synchronization

/// Limits the time in which a body must arrive. One timer serves all requests: a timer and a task for each would cost
/// an eighth of a small request.
final class BodyTimer: Sendable {
    /// The body did not arrive in time.
    struct Late: Error {}

    private struct Arrival {
        let deadline: ContinuousClock.Instant
        let cancel: @Sendable () -> Void
        var isLate = false
    }

    private struct State {
        var arrivals: [Int: Arrival] = [:]
        var nextID = 0
        /// Whether a task sleeps until the earliest deadline. All requests have the same timeout, so a new deadline is
        /// never earlier than that.
        var isWatching = false
    }

    private let timeout: Duration
    private let state = Mutex(State())

    init(timeout: Duration) {
        self.timeout = timeout
    }

    /// Runs `collect` and cancels it at the deadline.
    /// - Throws: what `collect` throws, or ``Late``.
    func collect<Value: Sendable>(_ collect: @escaping @Sendable () async throws -> Value) async throws -> Value {
        let work = Self.start(collect)
        let deadline = ContinuousClock.now + timeout
        let (id, mustWatch) = state.withLock { state in
            state.nextID += 1
            state.arrivals[state.nextID] = Arrival(deadline: deadline, cancel: { work.cancel() })
            defer { state.isWatching = true }
            return (state.nextID, !state.isWatching)
        }
        if mustWatch { watch(until: deadline) }
        let result = await withTaskCancellationHandler {
            await work.result
        } onCancel: {
            work.cancel()
        }
        let arrival = state.withLock { $0.arrivals.removeValue(forKey: id) }
        if arrival?.isLate == true, case .failure = result { throw Late() }
        return try result.get()
    }

    /// Starts without a thread switch where the system allows it: a small body usually arrives with the request's head.
    private static func start<Value: Sendable>(
        _ collect: @escaping @Sendable () async throws -> Value
    ) -> Task<Value, any Error> {
        if #available(macOS 26.0, *) { Task.immediate { try await collect() } } else { Task { try await collect() } }
    }

    private func watch(until deadline: ContinuousClock.Instant) {
        Task { [weak self] in
            // Sleep throws only when cancelled, and nothing cancels this task.
            try? await Task.sleep(until: deadline, clock: .continuous)
            self?.endLate()
        }
    }

    private func endLate() {
        let now = ContinuousClock.now
        let (late, next) = state.withLock { state in
            var late: [@Sendable () -> Void] = []
            var next: ContinuousClock.Instant?
            for (id, arrival) in state.arrivals where !arrival.isLate {
                if arrival.deadline <= now {
                    state.arrivals[id]?.isLate = true
                    late.append(arrival.cancel)
                } else {
                    next = min(next ?? arrival.deadline, arrival.deadline)
                }
            }
            state.isWatching = next != nil
            return (late, next)
        }
        for cancel in late { cancel() }
        if let next { watch(until: next) }
    }
}
