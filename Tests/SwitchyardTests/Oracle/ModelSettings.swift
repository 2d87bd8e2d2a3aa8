import Switchyard

/// The settings of a queue that the model and Redis share.
struct ModelSettings {
    /// All durations are multiples of five minutes, and so is each step of time in a run: what is due at a given
    /// millisecond for the model is past for Redis, whose clock has advanced by the few seconds that the run takes.
    var lease = 3_300_000
    var assignTimeout = 900_000
    var retryDelay = 900_000
    var reserveAfter = 2_100_000
    var maxDeliveries = 3
    var maxQueueLength = 50
    var aging = 0
    /// Whether tasks have tenants from the first one on.
    var isFair = false
    var retention = 31_536_000_000
    /// 0: no limit.
    var maxFinished = 0
    /// The longest value that a listpack hash of the test's server stores, in bytes. A longer payload is stored in
    /// several fields of its task's hash, unless it is longer than 512 bytes.
    static let shortValue = 64
    static let defaultTimeout = 7_200_000
    /// How long a stage waits for its next part.
    static let stagedFor = 30_000

    var values: [String: Int] {
        [
            "lease_ms": lease, "heartbeat_ms": 1_000_000, "assign_timeout_ms": assignTimeout,
            "retry_delay_ms": retryDelay, "retry_delay_max_ms": 86_400_000, "retry_jitter_percent": 0,
            "reserve_after_ms": reserveAfter, "max_deliveries": maxDeliveries, "max_queue_length": maxQueueLength,
            "aging_ms": aging, "retention_ms": retention, "max_finished": maxFinished,
        ]
    }

    /// The width of a level in a score.
    var width: Double { aging > 0 ? Double(aging) * 1000 : Double(1 << 50) }

    /// How long after its end a purged task keeps its tombstone.
    var tombstone: Int { max(60_000, 2 * lease) }
}
