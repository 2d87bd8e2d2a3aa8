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
    /// Its order within its level, as in Redis: the time of submission, which only Redis knows, or its start tag.
    var tag = 0.0
    var submittedAt = 0
    /// What its worker must have, as the name of a lane; "": nothing.
    var needs = ""
    var maxRetries = 0
    var timeout = 0
    /// As it is submitted, in ms.
    var delay: Int?
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
    var concurrency: ModelLimit?
    var rate: ModelRate?
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

    /// The line in which it stands: what it needs, and its limits. "": the line of tasks that need nothing.
    var lane: String {
        [needs, concurrency?.token ?? "", rate?.token ?? ""].filter { !$0.isEmpty }.joined(separator: ",")
    }
}

/// So many tasks of a key at once.
struct ModelLimit: Equatable {
    let key: String
    let limit: Int
    var token: String { "@\(key)=\(limit)" }
}

/// So many starts of a key in a second: the generic cell rate algorithm.
struct ModelRate: Equatable {
    let key: String
    /// As it is submitted.
    let perSecond: String
    let burst: Int
    var token: String { "~\(key)=\(perSecond)/\(burst)" }
    /// Between two starts, in ms.
    var interval: Double { 1000 / (Double(perSecond) ?? 1) }
}
