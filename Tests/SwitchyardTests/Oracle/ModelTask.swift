import Switchyard

/// A task in the model. Times are in milliseconds of the model's own clock.
struct ModelTask: Equatable {
    let id: String
    var priority = TaskPriority.normal
    var state = TaskState.pending
    /// What a pending task waits for; nil while it can start.
    var heldBy: String?
    /// The time until which it is held, if it is held for a time.
    var due = 0
    /// Its order within its level, as in Redis: the time of its submission, which only Redis knows, or its start tag.
    var tag = 0.0
    var submittedAt = 0
    /// What its worker must have, as the name of a lane; "": nothing.
    var needs = ""
    var maxRetries = 0
    var timeout = 0
    /// As submitted, in ms.
    var delay: Int?
    var runAt: Int?

    var attempt = 0
    var retryCount = 0
    var deliveries = 0
    var worker: String?
    var startedAt: Int?
    /// Its own grace, in ms.
    var grace: Int?
    /// The worker on which the process of its latest attempt is ending, and when it ends at the latest.
    var ending: Ending?
    var leaseEnds = 0

    var dependencies: [String] = []
    var dependenciesLeft = 0
    var runAnyway = false
    var concurrency: ModelLimit?
    var rate: ModelRate?
    var uniqueKey: String?
    var uniqueFor: Int?
    var fairnessKey = ""
    var fairnessWeight = 1.0
    var batch: String?

    var payload: String?
    /// The token that identifies a repeated submission; nil if it is the id, or if there is none.
    var request: String?
    var result: String?
    var exitCode: String?
    /// How it ended without success: `lost` is a kind of failure.
    var outcome: String?
    var finishedAt = 0
    /// The records of the attempts that ended while the task went on, by number.
    var records: [Int: Record] = [:]

    struct Record: Equatable {
        let worker: String?
        let outcome: String
    }

    struct Ending: Equatable {
        let worker: String
        let until: Int
    }

    init(id: String) { self.id = id }

    var isInLine: Bool { state == .pending && heldBy == nil }
    var isLive: Bool { state == .assigned || state == .running }

    /// Its lane: what it needs, and its limits. "": neither.
    var lane: String {
        [needs, concurrency?.token ?? "", rate?.token ?? ""].filter { !$0.isEmpty }.joined(separator: ",")
    }
}

/// At most `limit` tasks of a key run at once.
struct ModelLimit: Equatable {
    let key: String
    let limit: Int
    var token: String { "@\(key)=\(limit)" }
}

/// The rate of starts of a key: the generic cell rate algorithm.
struct ModelRate: Equatable {
    let key: String
    /// As submitted.
    let perSecond: String
    let burst: Int
    var token: String { "~\(key)=\(perSecond)/\(burst)" }
    /// The time between two starts, in ms.
    var interval: Double { 1000 / (Double(perSecond) ?? 1) }
}
