import Logging
import RedisClient
import Synchronization

/// The health of a replica: whether it reaches Redis, and whether Redis lost the data of a queue.
public final class ReplicaHealth: Sendable {
    /// The health of one partition of a queue.
    public struct Queue: Sendable, Equatable {
        /// When a tick last succeeded; nil: not yet.
        public var lastTick: ContinuousClock.Instant?
        /// Why this replica does not serve the partition now: its latest tick failed, or it cannot prepare Redis. Nil
        /// if it does.
        public var failure: String?
        /// Whether the failure is that Redis does not reply, or is not ready.
        public var isRedisAway = false
        /// Whether the failure is that Redis is a Redis replica.
        public var isReadOnly = false
        /// Why this replica does not hear the reports that workers publish; nil if it does.
        public var deafness: String?
        /// The queue's instance id at the latest successful tick.
        public var instance: String?
        /// The number of ticks that the queue has had, all replicas together, at the latest successful tick.
        public var ticks: Int?
        /// True once the instance id has changed (a flush, or an empty Redis replica was promoted), or ``wasSetBack``:
        /// Redis lost data of the queue.
        public var lostData = false
        /// True once Redis had an older state of the queue than this replica had seen: a backup was restored, or a
        /// restart or a failover lost the latest writes.
        public var wasSetBack = false

        /// What Redis lost; nil if it lost nothing that this replica knows of.
        package func loss(of queue: String) -> String? {
            guard lostData else { return nil }
            return wasSetBack
                ? "Redis has an older state of queue \(queue) than before (a backup was restored, or a restart or a "
                    + "failover lost the latest writes): what was acknowledged since then is gone"
                : "the data of queue \(queue) was lost (a flush, or an empty Redis replica was promoted): tasks "
                    + "acknowledged before are gone"
        }
    }

    private let queues = Mutex<[String: Queue]>([:])
    /// The latest findings about each Redis server, by its index.
    private let servers = Mutex<[Int: [ServerFinding]]>([:])
    /// Why the latest submission through this replica failed, and when; nil if it succeeded or was refused for its
    /// content.
    private let failedSubmission = Mutex<(message: String, at: ContinuousClock.Instant)?>(nil)
    /// A failed submission counts for this long.
    private static let memory: Duration = .seconds(60)

    /// The health of a replica without queues.
    public init() {}

    /// The health of each partition, by the queue's name, or `queue/k` for partition k above 0.
    public var current: [String: Queue] { queues.withLock { $0 } }

    /// Why no partition is served, if that is because Redis is a Redis replica; nil otherwise.
    package var replicaFailure: String? {
        let queues = current.values
        return queues.allSatisfy(\.isReadOnly) ? queues.first?.failure : nil
    }

    /// Notes a successful tick.
    /// - Parameter ticks: how many the queue has had; 0 if the function library is too old to say.
    /// - Returns: whether the queue is another one than at the tick before, or in an older state.
    func ticked(queue name: String, instance: String, ticks: Int, logger: Logger) -> Bool {
        let (recovered, wasAway, lost, isOlder): (Bool, Bool, Bool, Bool) = queues.withLock { queues in
            var queue = queues[name] ?? Queue()
            let recovered = queue.failure != nil
            let wasAway = queue.isRedisAway
            let lost = queue.instance != nil && queue.instance != instance
            // Each tick counts, so a state that has seen those of this replica has a higher number.
            let known = queue.ticks ?? 0
            let isOlder = !lost && known > 0 && ticks <= known
            queue.lastTick = .now
            queue.failure = nil
            queue.isRedisAway = false
            queue.isReadOnly = false
            queue.instance = instance
            queue.ticks = ticks
            queue.lostData = queue.lostData || lost || isOlder
            queue.wasSetBack = queue.wasSetBack || isOlder
            queues[name] = queue
            return (recovered, wasAway, lost, isOlder)
        }
        // Submissions failed for the same reason.
        if wasAway { failedSubmission.withLock { $0 = nil } }
        if recovered {
            logger.notice(wasAway ? "Redis is back" : "the queue is served again", metadata: ["queue": "\(name)"])
        }
        if lost {
            logger.critical(
                """
                the data of the queue was lost: its instance id changed (a flush, or an empty Redis replica became \
                primary); tasks acknowledged before are gone
                """,
                metadata: ["queue": "\(name)", "instance": "\(instance)"])
        }
        if isOlder {
            logger.critical(
                """
                data of the queue was lost: Redis has an older state than before (a backup was restored, or a restart \
                or a failover lost the latest writes); what was acknowledged since then is gone
                """,
                metadata: ["queue": "\(name)", "instance": "\(instance)"])
        }
        return lost || isOlder
    }

    /// Notes that the partition is not served, and logs it unless the same was logged just before.
    func failed(_ what: Logger.Message, queue name: String, error: any Error, logger: Logger) {
        let known = (error as? RedisError).map { SchedulerError($0) } ?? error as? SchedulerError
        let message = known?.message ?? "\(error)"
        let isRedisAway = if case .internal(_, redisAway: true)? = known { true } else { false }
        let isNews = queues.withLock { queues in
            var queue = queues[name] ?? Queue()
            defer { queues[name] = queue }
            let former = queue.failure
            queue.failure = message
            queue.isRedisAway = isRedisAway
            queue.isReadOnly = known?.isFromReplica ?? false
            // While Redis is away, errors differ from try to try, and say nothing new.
            return former == nil || former != message && !isRedisAway
        }
        if isNews { logger.error(what, metadata: ["queue": "\(name)", "error": "\(error)"]) }
    }

    /// Notes whether the subscription to published reports stands.
    func hears(queue name: String, failure: (any Error)?) {
        queues.withLock { $0[name, default: Queue()].deafness = failure.map { "\($0)" } }
    }

    /// The latest findings about the Redis servers that need attention, in order.
    package var serverFindings: [ServerFinding] {
        servers.withLock { servers in
            servers.sorted { $0.key < $1.key }.flatMap { index, findings in
                findings.map { finding in
                    var finding = finding
                    if servers.count > 1 { finding.message = "server \(index + 1): \(finding.message)" }
                    return finding
                }
            }
        }
    }

    /// Why Redis refused the latest submission through this replica, if that was within the last minute.
    package var submissionFailure: String? {
        failedSubmission.withLock { $0 }.flatMap { .now - $0.at < Self.memory ? $0.message : nil }
    }

    /// Notes the end of a submission. An error that is the caller's says nothing about Redis.
    package func submissionEnded(_ error: SchedulerError? = nil) {
        switch error {
        case .internal(let message, _): failedSubmission.withLock { $0 = (message, .now) }
        default: failedSubmission.withLock { $0 = nil }
        }
    }

    /// A replica works without the settings of the server; `doctor` says that it cannot read them.
    private static func level(_ finding: ServerFinding) -> Logger.Level {
        switch finding.level {
        case .fail: .error
        case .warn where ServerReview.optional.contains(finding.subject): .debug
        case .warn, .ok: .warning
        }
    }

    /// Notes what a review of a server found, and logs what is new.
    func reviewed(server index: Int, _ findings: [ServerFinding], logger: Logger) {
        let known = servers.withLock { servers in
            defer { servers[index] = findings }
            return Set((servers[index] ?? []).map(\.subject))
        }
        for finding in findings where !known.contains(finding.subject) {
            logger.log(
                level: Self.level(finding), "\(finding.message)",
                metadata: ["redis": "\(index + 1)", "check": "\(finding.subject)", "do": "\(finding.advice ?? "")"])
        }
    }
}
