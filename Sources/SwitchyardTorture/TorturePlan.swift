/// What a run does: how long, with which faults, and on how many processes. Two runs with one plan make the same
/// choices; what the machine makes of them differs.
package struct TorturePlan: Sendable {
    /// The seed of all random choices: which calls, which tasks, which faults, in which order.
    package var seed: UInt64 = 1
    /// How long clients submit and faults strike. Afterwards everything must end within `settling`.
    package var duration: Duration = .seconds(60)
    /// How long clients go on after the last fault, so that the recovery from it is seen under load too.
    package var calm: Duration = .seconds(3)
    /// How long after the last fault all tasks may need to end.
    package var settling: Duration = .seconds(60)
    /// What Redis is.
    package var redis = RedisKind.server
    /// The faults that strike, in random order, each at least once if there is time. They must be among those of
    /// ``redis``.
    package var faults = RedisKind.server.faults
    /// Processes of each kind. The last handler worker has a network of its own.
    package var replicas = 2, handlerWorkers = 2, commandWorkers = 2
    /// Concurrent clients.
    package var clients = 4
    /// How many tasks all clients together leave unended before they wait.
    package var backlog = 1500
    /// Whether all tasks are deleted in the end, to see whether any key is left. It takes more than a minute.
    package var deletesAll = false
    /// The text of another function library, with a planted fault; nil: the one of this build. If Redis loses it, the
    /// next call loads the one of this build.
    package var library: String?

    package init() {}

    /// Chooses the faults, and the Redis on which they can be made.
    /// - Parameters:
    ///   - faults: none: all that can be made on this Redis.
    ///   - redis: nil: the first kind on which all of the faults can be made.
    /// - Throws: ``TortureError`` if there is none.
    package mutating func choose(faults: [FaultKind], on redis: RedisKind? = nil) throws {
        let kinds = redis.map { [$0] } ?? RedisKind.allCases
        guard let kind = kinds.first(where: { Set(faults).isSubset(of: $0.faults) }) else {
            let all = kinds.map { kind in
                kind.rawValue + ": " + kind.faults.map(\.rawValue).joined(separator: " ")
            }
            throw TortureError(
                "expected faults of one kind of Redis, found \(faults.map(\.rawValue).joined(separator: " ")). On "
                    + all.joined(separator: "; on "))
        }
        self.redis = kind
        self.faults = faults.isEmpty ? kind.faults : faults
    }

    /// The settings of the queue: short leases, and many retries, because faults end many attempts.
    static let settings: [(name: String, value: Int)] = [
        ("lease_ms", 2000), ("heartbeat_ms", 400), ("assign_timeout_ms", 2000), ("retry_delay_ms", 50),
        ("default_max_retries", 50), ("max_deliveries", 1000), ("max_queue_length", 1_000_000),
        ("retention_ms", 3_600_000), ("max_finished", 1_000_000), ("cleanup_interval_ms", 1000),
    ]
    /// The lease among these settings.
    static let lease: Duration = .seconds(2)
    /// What each worker offers, and tasks with resources reserve.
    static let cores = 4

    /// The settings as flags of a replica.
    static var settingFlags: [String] {
        settings.flatMap { name, value in
            let isDuration = name.hasSuffix("_ms")
            let flag = (isDuration ? String(name.dropLast(3)) : name).split(separator: "_").joined(separator: "-")
            return ["--" + flag, isDuration ? "\(value)ms" : "\(value)"]
        }
    }
}
