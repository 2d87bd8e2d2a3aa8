import Foundation

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
    /// - Parameter deadline: the time limit of a single try; nil: as for any other call.
    func stats(onceWithin deadline: Duration? = nil) async throws -> QueueStats {
        QueueStats(try ReplyFields(await call("stats", [], onceWithin: deadline)), queue: keys.queue)
    }

    fileprivate func workers() async throws -> [WorkerInfo] {
        var workers: [String: WorkerInfo] = [:]
        var cursor = "0"
        repeat {
            let page = try WorkersPage(await call("workers", ["cursor", .string(cursor)]))
            // A worker may be on two pages.
            for worker in page.workers { workers[worker.id] = worker }
            cursor = page.cursor
        } while !cursor.isEmpty
        return Array(workers.values)
    }

    fileprivate func explain(_ id: String) async throws -> Explanation {
        try Explanation(await call("explain", ["task", .string(id)]), id: id)
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
