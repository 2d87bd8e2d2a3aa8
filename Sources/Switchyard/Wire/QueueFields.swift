import Foundation
import RedisClient

// Reads a queue's counts, its workers, its demand and explanations from the replies of the functions.

extension QueueStats {
    /// Reads the reply of `switchyard_stats`.
    init(_ fields: ReplyFields, queue: String) {
        let oldest = fields.date("oldest_pending_at").map { (fields.date("now") ?? $0).timeIntervalSince($0) } ?? 0
        self.init(
            queue: queue, ready: fields.count("pending"), held: fields.count("held"),
            waiting: fields.count("waiting"), blocked: fields.count("blocked"), unroutable: fields.count("unroutable"),
            assigned: fields.count("assigned"), running: fields.count("running"), completed: fields.count("completed"),
            failed: fields.count("failed"), timeout: fields.count("timeout"), cancelled: fields.count("cancelled"),
            readyByPriority: Dictionary(
                uniqueKeysWithValues: TaskPriority.allCases.map { ($0, fields.count("pending_\($0.rawValue)")) }),
            totalWorkers: fields.count("workers"), idleWorkers: fields.count("idle_workers"),
            cordonedWorkers: fields.count("cordoned"), slots: fields.count("slots"),
            queueFullErrors: fields.count("queue_full_errors"), retries: fields.count("retries"),
            lost: fields.count("lost"), repaired: fields.count("repaired"), logBytes: fields.count("log_bytes"),
            logBudget: fields.count("log_budget_bytes"), logsRemoved: fields.count("logs_removed"),
            oldestPending: .milliseconds(Int(oldest * 1000)), isPaused: fields.flag("paused"),
            instance: fields.string("instance").flatMap { $0.isEmpty ? nil : $0 })
    }
}

extension BatchStatus {
    /// Reads the reply of `switchyard_batch`.
    init(_ fields: ReplyFields, id: String) {
        var counts: [TaskState: Int] = [:]
        for state in TaskState.allCases { counts[state] = fields.optionalInt(state.rawValue, in: .count) }
        self.init(
            id: id, total: fields.count("total"), counts: counts, submittedAt: fields.date("submitted_at"),
            finishedAt: fields.date("finished_at"), followUp: fields.string("follow_up"),
            failures: fields["failures"]?.array?.compactMap(\.string) ?? [])
    }
}

/// A page of the reply of `switchyard_workers`.
struct WorkersPage {
    var workers: [WorkerInfo]
    /// The cursor of the next page; empty at the end.
    var cursor: String

    init(_ reply: RESPValue) throws(SchedulerError) {
        guard let parts = reply.array, parts.count == 2, let next = parts[0].string, let found = parts[1].array else {
            throw .internal(message: "switchyard_workers returned \(reply)", redisAway: false)
        }
        cursor = next
        workers = []
        for worker in found { workers.append(WorkerInfo(try ReplyFields(worker))) }
    }
}

extension WorkerInfo {
    fileprivate init(_ fields: ReplyFields) {
        var details: [String: String] = [:]
        for name in ["host", "pid", "version", "note"] { details[name] = fields.string(name) }
        details["last_assigned"] = fields.optionalInt("last_assigned").map(String.init)
        self.init(
            id: fields.string("id") ?? "", slots: fields.count("slots"), busy: fields.count("busy"),
            ending: fields.count("ending"), isDraining: fields.flag("draining"),
            cordonedAt: fields.date("cordoned_at"), labels: fields.words("labels"), resources: Resources(fields),
            workerClass: fields.string("class") ?? "", registeredAt: fields.date("registered_at"),
            expiresAt: fields.date("expires_at"), details: details)
    }
}

extension Explanation {
    /// Reads the reply of `switchyard_explain`.
    init(_ reply: RESPValue, id: String) throws(SchedulerError) {
        guard let entries = reply.array, let state = entries.first?.string.flatMap(TaskState.init) else {
            throw .internal(message: "switchyard_explain returned \(reply)", redisAway: false)
        }
        var reasons: [Reason] = []
        for entry in entries.dropFirst() {
            let fields = try ReplyFields(entry)
            var details: [String: String] = [:]
            for name in fields.names where name != "code" && name != "message" {
                details[name] = fields.string(name) ?? fields.optionalInt(name).map(String.init)
            }
            reasons.append(
                Reason(code: fields.string("code") ?? "", message: fields.string("message") ?? "", details: details))
        }
        self.init(id: id, state: state, reasons: reasons)
    }
}

/// A page of the reply of `switchyard_demand`.
struct DemandPage {
    /// The name of a class, and its workers, their slots, their attempts, and how many of them drain.
    var classes: [(name: String, numbers: [Int])] = []
    /// For each lane, its ready tasks and the classes that serve it.
    var lanes: [(ready: Int, servedBy: Set<String>)]
    /// The cursor of the next page; empty at the end.
    var cursor: String

    init(_ reply: RESPValue) throws(SchedulerError) {
        guard let page = reply.array, page.count == 3, let lanes = page[0].array, let classes = page[1].array,
            let next = page[2].string
        else {
            throw .internal(message: "switchyard_demand replied something unexpected", redisAway: false)
        }
        for entry in classes.compactMap(\.array) where entry.count >= 5 {
            let numbers = entry.dropFirst().map { NumberRange.count.number($0, field: "class") ?? 0 }
            self.classes.append((entry[0].string ?? "", numbers))
        }
        self.lanes = lanes.compactMap(\.array).filter { $0.count >= 2 }.map {
            (NumberRange.count.number($0[1], field: "ready") ?? 0, Set($0.dropFirst(2).compactMap(\.string)))
        }
        cursor = next
    }
}
