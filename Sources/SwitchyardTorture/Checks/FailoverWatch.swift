import Switchyard
import Synchronization

/// Notices when another server has the queue, and when a write is acknowledged.
final class FailoverWatch: Sendable {
    private struct Record {
        var changes: [Uptime] = []
        var writes: [Uptime] = []
    }
    private let record = Mutex(Record())

    private static let interval: Duration = .milliseconds(50)

    /// When another server was found to have the queue than before.
    var changes: [Uptime] { record.withLock { $0.changes } }
    /// When a write was acknowledged.
    var writes: [Uptime] { record.withLock { $0.writes } }

    /// Watches until it is cancelled. One server stays what it is.
    func run(_ redis: FarmRedis) async throws {
        var last = try await redis.holder()
        if case .one = redis.servers { return }
        while !Task.isCancelled {
            if let now = try await redis.holder(), now != last {
                if last != nil { record.withLock { $0.changes.append(.now) } }
                last = now
            }
            try await Task.sleep(for: Self.interval)
        }
    }

    /// Writes a setting of the queue, which has the value already, again and again until it is cancelled. Submissions
    /// would not do: they wait for Redis replicas, after the write.
    func write(_ handle: SchedulerHandle) async {
        while !Task.isCancelled {
            do {
                try await handle.configure([TorturePlan.settings[0]])
                record.withLock { $0.writes.append(.now) }
            } catch {
                // Nothing was acknowledged.
            }
            // Cancelled: the loop ends.
            try? await Task.sleep(for: Self.interval)
        }
    }
}
