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
        try await announce(within: nil)
    }

    private func announce(within deadline: Duration?) async throws {
        do {
            // The first instance has the names of all queues.
            _ = try await partitions.instances[0].send(
                RedisCommand("SADD", .string(Keys.queues), .string(queue)), deadline: deadline)
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
        announcement.isMade.withLock { $0 = true }
    }

    /// Like ``announce()``, for a submission. If the queue has partitions on several servers, the submission does not
    /// wait for the first server: each function notes the queue's name on its own server too.
    func announceOnce() async throws {
        if announcement.isMade.withLock({ $0 }) { return }
        guard partitions.instances.count > 1 else { return try await announce() }
        do {
            try await announce(within: Self.patienceToAnnounce)
        } catch SchedulerError.internal(_, redisAway: true) {
            // The next submission announces again.
        }
    }

    private static let patienceToAnnounce: Duration = .seconds(1)

    /// Makes a queue known that exists. A new one becomes known when it has taken its first task: a refused submission
    /// may have a mistyped name. With partitions on several servers it becomes known after its submission, which does
    /// not wait for the others.
    func announceExisting() async throws {
        if announcement.isMade.withLock({ $0 }) || partitions.instances.count > 1 { return }
        if try await exists() { try await announce() }
    }
}
