import Synchronization

/// How full a queue is, for the automatic priority. It is read at most once a second, because it need not be exact.
///
/// A partition that does not reply at once is left out: a submission must not wait for a server that it does not need.
final class QueueLoad: Sendable {
    private let latest = Mutex<(at: ContinuousClock.Instant, load: Double)?>(nil)

    private static let interval: Duration = .seconds(1)
    /// How long a submission waits for each of the two calls.
    private static let patience: Duration = .milliseconds(250)

    /// Returns the queue's length divided by its limit. It can exceed 1. It is 0 if nothing is known.
    func current(of handle: SchedulerHandle) async throws -> Double {
        let now = ContinuousClock.now
        // The first to come after the interval reads; the others take the old value meanwhile.
        let (known, isRecent) = latest.withLock { latest in
            let known = latest?.load ?? 0
            if let latest, now - latest.at < Self.interval { return (known, true) }
            latest = (now, known)
            return (known, false)
        }
        if isRecent { return known }
        let parts = try await handle.all { functions in
            do {
                return try await functions.fill(onceWithin: Self.patience)
            } catch is SchedulerError {
                // Away, or slow. The submission itself reports it if it needs this partition.
                return (pending: 0, limit: 0)
            }
        }
        let limit = parts.reduce(0) { $0 + $1.limit }
        guard limit > 0 else { return known }
        let load = Double(parts.reduce(0) { $0 + $1.pending }) / Double(limit)
        latest.withLock { $0 = (now, load) }
        return load
    }
}

extension QueueFunctions {
    /// Returns how many tasks are pending in this partition, and its limit.
    fileprivate func fill(onceWithin patience: Duration) async throws -> (pending: Int, limit: Int) {
        let stats = try await stats(onceWithin: patience)
        let settings = try ReplyFields(await call("configure", [], onceWithin: patience))
        return (stats.pending, settings.int(SchedulerHandle.lengthLimit))
    }
}
