import Logging
import Synchronization

/// The health of a replica: whether it reaches Redis, and whether Redis lost the data of a queue.
public final class ReplicaHealth: Sendable {
    /// The health of one partition of a queue.
    public struct Queue: Sendable, Equatable {
        /// When a tick last succeeded; nil: not yet.
        public var lastTick: ContinuousClock.Instant?
        /// Why the latest tick failed; nil if it succeeded.
        public var failure: String?
        /// The queue's instance id at the latest successful tick.
        public var instance: String?
        /// True once the instance id has changed: Redis lost the queue's data (a flush, or an empty Redis replica was
        /// promoted).
        public var lostData = false
    }

    private let queues = Mutex<[String: Queue]>([:])

    /// The health of a replica without queues.
    public init() {}

    /// The health of each partition, by the queue's name, or `queue/k` for partition k above 0.
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
                the data of the queue was lost: its instance id changed (a flush, or an empty Redis replica became \
                primary); tasks acknowledged before are gone
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
