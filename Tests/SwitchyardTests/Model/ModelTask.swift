import Switchyard

/// A task as the model knows it. Times are milliseconds on the model's own clock.
struct ModelTask: Equatable {
    let id: String
    var priority = TaskPriority.normal
    var state = TaskState.pending
    /// What a pending task waits for; nil while it stands in line.
    var heldBy: String?
    /// Until when, while that is a time.
    var due = 0
    /// Its place in line, as in Redis: it holds the time of submission, which only Redis knows.
    var place = 0.0
    var submittedAt = 0
    var lane = ""
    var maxRetries = 0
    var timeout = 0
    var runAt: Int?

    var attempt = 0
    var retryCount = 0
    var deliveries = 0
    var worker: String?
    var startedAt: Int?
    var leaseEnds = 0

    var dependencies: [String] = []
    var dependenciesLeft = 0
    var runAnyway = false
    var concurrencyKey: String?
    var concurrencyLimit = 1
    var rateKey: String?
    /// Between two starts.
    var rateInterval = 0
    var rateBurst = 1
    var rateGranted = false
    var uniqueKey: String?
    var uniqueFor: Int?
    var fairnessKey = ""
    var fairnessWeight = 1.0
    var batch: String?

    var payload: String?
    /// The token by which a repeated submission is known; nil when it is the id, or there is none.
    var request: String?
    var result: String?
    var exitCode: String?
    /// How it ended, where that was no success: `lost` is another way to fail.
    var outcome: String?
    var finishedAt = 0
    /// Attempts that are over while the task went on, by number.
    var records: [Int: Record] = [:]

    struct Record: Equatable {
        let worker: String?
        let outcome: String
    }

    init(id: String) { self.id = id }

    var isInLine: Bool { state == .pending && heldBy == nil }
    var isLive: Bool { state == .assigned || state == .running }
}

struct ModelWorker {
    let id: String
    var slots: Int
    var className: String
    var expires: Int
    var draining = false
    /// It pulled in vain, and nobody has woken it since.
    var isAsleep = false
    /// A wake-up lies there for it.
    var isWoken = false
    /// The call that gave it tasks last; 0: none did.
    var lastWork = 0
}

/// The settings of a queue that the model and Redis have in common.
struct ModelSettings {
    /// All durations are multiples of five minutes, and so is each step of time in a run: what is due at the same
    /// millisecond for the model is past for Redis, whose clock has gone on by the few seconds that the run takes.
    var lease = 3_300_000
    var assignTimeout = 900_000
    var retryDelay = 900_000
    var reserveAfter = 2_100_000
    var maxDeliveries = 3
    var maxQueueLength = 40
    var aging = 0
    var isFair = false
    var retention = 31_536_000_000
    /// What the server says to be short, in bytes: a longer payload stands in its task's hash in pieces, unless it is longer than
    /// 512.
    static let shortValue = 64

    var values: [String: Int] {
        [
            "lease_ms": lease, "heartbeat_ms": 1_000_000, "assign_timeout_ms": assignTimeout,
            "retry_delay_ms": retryDelay, "retry_delay_max_ms": 86_400_000, "retry_jitter_percent": 0,
            "reserve_after_ms": reserveAfter, "max_deliveries": maxDeliveries, "max_queue_length": maxQueueLength,
            "aging_ms": aging, "retention_ms": retention,
        ]
    }

    /// What a level is worth in a place.
    var width: Double { aging > 0 ? Double(aging) * 1000 : Double(1 << 50) }
}
