import Switchyard
import Synchronization

/// Caches each queue's settings for a second: the defaults of a new schedule, and the queue length that `QueueFull` and
/// the health report name. A change made through this server is seen at once, one made elsewhere within the second.
final class SettingsCache: Sendable {
    private static let lifetime: Duration = .seconds(1)
    /// The scheduler limits the number of queues; this limits the memory for names that are no queues.
    private static let maxEntries = 2000

    private let entries = Mutex<[String: (at: ContinuousClock.Instant, settings: [String: Int])]>([:])

    /// Returns the settings by their names in Redis; durations are in milliseconds.
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
