import Foundation
import RedisClient

// The counts of a queue, its workers, and explanations. They merge the replies of all partitions. Each partition has
// its own tasks, and all share the workers.

extension SchedulerHandle {
    /// Returns the counts of the queue. With several partitions `idleWorkers` is an upper bound, because a worker that
    /// sleeps in one partition may be busy with tasks of another.
    public func getStats() async throws -> QueueStats {
        var parts = try await all { try await $0.stats() }
        var stats = parts.removeFirst()
        for part in parts { stats.add(part) }
        if partitions.count > 1 {
            stats.idleWorkers = min(stats.idleWorkers, max(0, stats.slots - stats.assigned - stats.running))
        }
        return stats
    }

    /// Whether the queue exists: something has written to it.
    public func exists() async throws -> Bool {
        try await all { try await $0.stats() }.contains { $0.instance != nil }
    }

    /// Returns the registered workers, sorted by id. A worker that serves several partitions is returned once.
    public func getWorkers() async throws -> [WorkerInfo] {
        var workers: [String: WorkerInfo] = [:]
        for part in try await all({ try await $0.workers() }) {
            for worker in part {
                workers[worker.id] = workers[worker.id]?.adding(worker) ?? worker
            }
        }
        return workers.values.sorted { $0.id < $1.id }
    }

    /// Explains why a task does not run.
    /// - Throws: `taskNotFound`.
    public func explain(_ id: String) async throws -> Explanation {
        let id = try Name.validate(id, field: "task_id")
        var explanation = try await find(id) { try await $0.explain(id) }
        if partitions.count > 1, explanation.reasons.contains(where: { $0.code == "position" }) {
            try await explainBusyWorkers(in: &explanation)
        }
        return explanation
    }

    /// Adds the workers that are busy with tasks of other partitions: a partition counts only its own attempts.
    private func explainBusyWorkers(in explanation: inout Explanation) async throws {
        let workers = try await getWorkers().filter { !$0.isDraining && $0.cordonedAt == nil }
        let busy = workers.count { $0.busy >= $0.slots }
        guard busy > 0 else { return }
        explanation.reasons.removeAll { $0.code == "workers_busy" }
        // The reason decides if no worker has a free slot; else the position in line does.
        let isDecisive = busy == workers.count && explanation.reasons.first?.code == "position"
        explanation.reasons.insert(
            Explanation.Reason(
                code: "workers_busy",
                message:
                    "\(busy) of \(workers.count) workers have all slots taken, by tasks of all \(partitions.count) "
                    + "partitions of the queue",
                details: ["workers": "\(busy)"]), at: isDecisive ? 0 : explanation.reasons.count)
    }
}

extension QueueFunctions {
    func stats() async throws -> QueueStats {
        let fields = try ReplyFields(await call("stats", []))
        let oldest = fields.date("oldest_pending_at").map { (fields.date("now") ?? $0).timeIntervalSince($0) } ?? 0
        return QueueStats(
            queue: keys.queue, ready: fields.int("pending"), held: fields.int("held"),
            waiting: fields.int("waiting"), blocked: fields.int("blocked"), unroutable: fields.int("unroutable"),
            assigned: fields.int("assigned"), running: fields.int("running"), completed: fields.int("completed"),
            failed: fields.int("failed"),
            timeout: fields.int("timeout"), cancelled: fields.int("cancelled"),
            readyByPriority: Dictionary(
                uniqueKeysWithValues: TaskPriority.allCases.map { ($0, fields.int("pending_\($0.rawValue)")) }),
            totalWorkers: fields.int("workers"), idleWorkers: fields.int("idle_workers"),
            cordonedWorkers: fields.int("cordoned"), slots: fields.int("slots"),
            queueFullErrors: fields.int("queue_full_errors"), retries: fields.int("retries"), lost: fields.int("lost"),
            repaired: fields.int("repaired"), logBytes: fields.int("log_bytes"),
            logBudget: fields.int("log_budget_bytes"), logsRemoved: fields.int("logs_removed"),
            oldestPending: .milliseconds(Int(oldest * 1000)),
            isPaused: fields.flag("paused"),
            instance: fields.string("instance").flatMap { $0.isEmpty ? nil : $0 })
    }

    fileprivate func workers() async throws -> [WorkerInfo] {
        var workers: [String: WorkerInfo] = [:]
        var cursor = "0"
        repeat {
            let page = try await call("workers", ["cursor", .string(cursor)])
            guard let parts = page.array, parts.count == 2, let next = parts[0].string, let found = parts[1].array
            else {
                throw SchedulerError.internal(message: "switchyard_workers returned \(page)", redisAway: false)
            }
            // A worker may be on two pages.
            for worker in try found.map(Self.worker) { workers[worker.id] = worker }
            cursor = next
        } while !cursor.isEmpty
        return Array(workers.values)
    }

    private static func worker(_ reply: RESPValue) throws -> WorkerInfo {
        let fields = try ReplyFields(reply)
        var details: [String: String] = [:]
        for name in ["host", "pid", "version", "note", "last_assigned"] {
            details[name] = fields.string(name)
        }
        return WorkerInfo(
            id: fields.string("id") ?? "", slots: fields.int("slots"), busy: fields.int("busy"),
            ending: fields.int("ending"), isDraining: fields.flag("draining"), cordonedAt: fields.date("cordoned_at"),
            labels: fields.words("labels"), resources: Resources(fields),
            workerClass: fields.string("class") ?? "", registeredAt: fields.date("registered_at"),
            expiresAt: fields.date("expires_at"), details: details)
    }

    fileprivate func explain(_ id: String) async throws -> Explanation {
        let reply = try await call("explain", ["task", .string(id)])
        guard let entries = reply.array, let state = entries.first?.string.flatMap(TaskState.init) else {
            throw SchedulerError.internal(message: "switchyard_explain returned \(reply)", redisAway: false)
        }
        let reasons = try entries.dropFirst().map { entry in
            let fields = try ReplyFields(entry)
            var details: [String: String] = [:]
            for name in fields.names where name != "code" && name != "message" {
                details[name] = fields.string(name) ?? fields.optionalInt(name).map(String.init)
            }
            return Explanation.Reason(
                code: fields.string("code") ?? "", message: fields.string("message") ?? "", details: details)
        }
        return Explanation(id: id, state: state, reasons: reasons)
    }
}

extension QueueStats {
    /// Adds the counts of another partition of the same queue.
    fileprivate mutating func add(_ other: QueueStats) {
        for number in [
            \QueueStats.ready, \.held, \.waiting, \.blocked, \.unroutable, \.assigned, \.running, \.completed, \.failed,
            \.timeout, \.cancelled, \.queueFullErrors, \.retries, \.lost, \.repaired, \.logBytes,
            \.logBudget, \.logsRemoved,
        ] { self[keyPath: number] += other[keyPath: number] }
        readyByPriority.merge(other.readyByPriority) { $0 + $1 }
        // The partitions have the same workers, but a worker may not have registered in all of them yet.
        totalWorkers = max(totalWorkers, other.totalWorkers)
        cordonedWorkers = max(cordonedWorkers, other.cordonedWorkers)
        slots = max(slots, other.slots)
        idleWorkers = min(idleWorkers, other.idleWorkers)
        oldestPending = max(oldestPending, other.oldestPending)
        isPaused = isPaused || other.isPaused
    }
}

extension WorkerInfo {
    /// Merges the data that another partition has of the same worker.
    fileprivate func adding(_ other: WorkerInfo) -> WorkerInfo {
        var worker = self
        worker.busy += other.busy
        worker.ending += other.ending
        worker.isDraining = isDraining || other.isDraining
        worker.cordonedAt = [cordonedAt, other.cordonedAt].compactMap { $0 }.min()
        worker.registeredAt = [registeredAt, other.registeredAt].compactMap { $0 }.min()
        worker.expiresAt = [expiresAt, other.expiresAt].compactMap { $0 }.max()
        let assigned = [details["last_assigned"], other.details["last_assigned"]]
        worker.details["last_assigned"] = assigned.compactMap { $0 }.max { (Int64($0) ?? 0) < (Int64($1) ?? 0) }
        return worker
    }
}
