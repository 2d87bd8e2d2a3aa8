import RedisClient
import Synchronization

/// Whether a handle has made its queue known to the replicas.
final class Announcement: Sendable {
    let isMade = Mutex(false)
}

extension SchedulerHandle {
    /// Makes the queue known: every replica on this Redis looks after it from now on. The first submission of a handle
    /// does so too.
    /// - Throws: ``SchedulerError``.
    public func announce() async throws {
        do {
            // The first instance has the names of all queues.
            _ = try await partitions.instances[0].send(RedisCommand("SADD", .string(Keys.queues), .string(queue)))
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
        announcement.isMade.withLock { $0 = true }
    }

    func announceOnce() async throws {
        if announcement.isMade.withLock({ $0 }) { return }
        try await announce()
    }

    /// Makes a queue known that exists. A new one becomes known when it has taken its first task: a refused submission
    /// may have a mistyped name.
    func announceExisting() async throws {
        if announcement.isMade.withLock({ $0 }) { return }
        if try await exists() { try await announce() }
    }
}
