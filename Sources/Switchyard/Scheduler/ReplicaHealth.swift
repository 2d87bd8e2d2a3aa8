import Logging
import Synchronization

/// What a replica knows of its own health: whether it reaches Redis, and whether a queue's data was lost.
public final class ReplicaHealth: Sendable {
    public struct Queue: Sendable, Equatable {
        /// When a tick last succeeded; nil: not yet.
        public var lastTick: ContinuousClock.Instant?
        /// Why the latest tick failed; nil when it did not.
        public var failure: String?
        /// The queue's instance id as first seen.
        public var instance: String?
        /// Another instance than the one first seen: Redis lost the queue's data (a flush, an empty replica promoted).
        public var lostData = false
    }

    private let queues = Mutex<[String: Queue]>([:])

    public init() {}

    /// By the queue's name.
    public var current: [String: Queue] { queues.withLock { $0 } }

    func ticked(queue name: String, instance: String, logger: Logger) {
        let (recovered, lost): (Bool, Bool) = queues.withLock { queues in
            var queue = queues[name] ?? Queue()
            let recovered = queue.failure != nil
            let lost = queue.instance != nil && queue.instance != instance
            queue.lastTick = .now
            queue.failure = nil
            queue.instance = instance
            queue.lostData = queue.lostData || lost
            queues[name] = queue
            return (recovered, lost)
        }
        if recovered { logger.notice("Redis is back", metadata: ["queue": "\(name)"]) }
        if lost {
            logger.critical(
                """
                the data of the queue was lost: its instance id changed (a flush, or an empty replica became primary); \
                tasks acknowledged before are gone
                """,
                metadata: ["queue": "\(name)", "instance": "\(instance)"])
        }
    }

    func failed(queue name: String, error: any Error, logger: Logger) {
        let isNews = queues.withLock { queues in
            let isNews = queues[name]?.failure == nil
            queues[name, default: Queue()].failure = "\(error)"
            return isNews
        }
        if isNews { logger.error("a tick failed", metadata: ["queue": "\(name)", "error": "\(error)"]) }
    }
}
