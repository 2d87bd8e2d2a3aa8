import Switchyard
import Synchronization

/// A queue's settings, read at most once a second for each queue: for the defaults of a submission, and for the limit
/// that a refusal names. A change made through this server counts at once, one made elsewhere within the second.
final class SettingsCache: Sendable {
    private static let lifetime: Duration = .seconds(1)
    /// Queues are bounded by the scheduler; this bounds the memory of those that are asked for and never used.
    private static let maxEntries = 2000

    private let entries = Mutex<[String: (at: ContinuousClock.Instant, settings: [String: Int])]>([:])

    /// By the names in Redis; durations in milliseconds.
    func settings(of handle: SchedulerHandle) async throws -> [String: Int] {
        if let entry = entries.withLock({ $0[handle.queue] }), ContinuousClock.now - entry.at < Self.lifetime {
            return entry.settings
        }
        let settings = try await handle.configure([])
        store(settings, of: handle.queue)
        return settings
    }

    func store(_ settings: [String: Int], of queue: String) {
        entries.withLock { entries in
            if entries.count >= Self.maxEntries { entries.removeAll() }
            entries[queue] = (.now, settings)
        }
    }
}
