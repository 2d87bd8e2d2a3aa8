import Synchronization

/// How full a queue is, for the automatic priority. It is read at most once a second, because it need not be exact.
final class QueueLoad: Sendable {
    private let latest = Mutex<(at: ContinuousClock.Instant, load: Double)?>(nil)

    /// Returns the queue's length divided by its limit. It can exceed 1.
    func current(of handle: SchedulerHandle) async throws -> Double {
        let now = ContinuousClock.now
        if let latest = latest.withLock({ $0 }), now - latest.at < .seconds(1) { return latest.load }
        let stats = try await handle.getStats()
        let settings = try await handle.configure([])
        let load = Double(stats.pending) / Double(max(settings["max_queue_length"] ?? 0, 1))
        latest.withLock { $0 = (now, load) }
        return load
    }
}
