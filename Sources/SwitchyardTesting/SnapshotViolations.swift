/// The violations of a queue's invariants, a sentence for each.
package struct SnapshotViolations: Error, CustomStringConvertible {
    /// The name of the queue.
    package let queue: String
    /// The violations.
    package let violations: [String]

    /// Creates the error.
    package init(queue: String, violations: [String]) {
        self.queue = queue
        self.violations = violations
    }

    /// The queue's name and a line for each violation.
    package var description: String {
        "queue \(queue) is not consistent:\n  " + violations.joined(separator: "\n  ")
    }
}

extension Snapshot {
    /// Checks all invariants of the queue.
    /// - Throws: ``SnapshotViolations`` if any is violated.
    package func check() throws {
        let found = violations
        guard found.isEmpty else { throw SnapshotViolations(queue: keys.queue, violations: found) }
    }

    /// All violations, a sentence for each.
    package var violations: [String] {
        strangeKeys + taskIDs.flatMap(violations(ofTask:)) + tombstoneViolations + strayMembers + workerViolations
            + poolViolations + countViolations + batchViolations + laneViolations + workViolations + limitViolations
            + uniqueViolations + dependencyViolations + capacityViolations + reservationViolations + stepViolations
            + stageViolations + flagViolations + logViolations + failureViolations + endingViolations
    }

    /// Keys whose name no queue has, or whose type is wrong.
    private var strangeKeys: [String] {
        contents.compactMap { name, content in
            let kind = name.prefix { $0 != ":" }
            let isNamed = name.contains(":")
            switch (content, kind, isNamed) {
            case (.hash, "config", false), (.hash, "stats", false), (.hash, "class", false), (.hash, "classes", false),
                (.hash, "reserved", false), (.hash, "stuck", false), (.hash, "virtual_time", false),
                (.hash, "claims", false), (.hash, "cordoned", false), (.hash, "task", true), (.hash, "worker", true),
                (.hash, "attempts", true),
                (.hash, "batch", true), (.hash, "schedule", true), (.hash, "stage", true), (.hash, "stage_task", true),
                (.sortedSet, "pending", _), (.sortedSet, "held", false), (.sortedSet, "waiting", false),
                (.sortedSet, "leases", false), (.sortedSet, "finished", false), (.sortedSet, "workers", false),
                (.sortedSet, "idle", _), (.sortedSet, "idle_pools", false), (.sortedSet, "lanes", false),
                (.sortedSet, "closed", false), (.sortedSet, "lane_names", false), (.sortedSet, "unserved", false),
                (.sortedSet, "work", _), (.sortedSet, "tenants", true),
                (.sortedSet, "past_tenants", true), (.sortedSet, "dependents", true),
                (.sortedSet, "schedules", false), (.sortedSet, "stages", false), (.sortedSet, "logs", false),
                (.sortedSet, "ending", false), (.sortedSet, "failures", true), (.set, "running", true),
                (.set, "waiters", true), (.set, "reopening", false), (.list, "wake", true), (.list, "cascade", false),
                (.list, "members", true),
                (.list, "batch_work", false), (.list, "stage_members", true),
                (.stream, "log", true), (.string(_, expires: true), "affinity", true),
                (.string(_, expires: true), "rate", true), (.string, "unique", true):
                return nil
            case (.sortedSet, "finished", true):
                if Self.indexes.contains(name) { return nil }
                return "key \(name) is unknown"
            default: return "key \(name) is unknown, or has a type that it never has"
            }
        }
    }

    /// Entries of indexes that name no task. What a task's own hash says is checked with the task.
    private var strayMembers: [String] {
        var violations: [String] = []
        for index in Self.indexes + lines {
            for id in sortedSet(index).keys where !hasTask(id) {
                violations.append("\(index) has \(id), and there is no such task")
            }
        }
        for worker in ids("attempts:") {
            for id in leases(of: worker).keys where !hasTask(id) {
                violations.append("attempts:\(worker) has \(id), and there is no such task")
            }
        }
        for id in ids("log:") where !hasTask(id) {
            violations.append("there is a log of \(id), and no such task")
        }
        return violations
    }

    /// What logs take is counted for each task and for the queue. Logs of an earlier library are not counted yet.
    private var logViolations: [String] {
        var violations: [String] = []
        let logs = Set(ids("log:"))
        let counted = Set(sortedSet("logs").keys)
        if !counted.isSubset(of: logs) { violations.append("logs has \(counted.subtracting(logs)), without a log") }
        var sum = 0
        for id in taskIDs {
            let bytes = Int(task(id)["log_bytes"] ?? "0") ?? -1
            if (bytes > 0) != counted.contains(id) { violations.append("task \(id) has a log of \(bytes) bytes") }
            sum += bytes
        }
        let stat = hash("stats")["log_bytes"] ?? "0"
        if stat != "\(sum)" { violations.append("the logs take \(sum) bytes, and stats has \(stat)") }
        return violations
    }

    /// `failures:<batch>` has the batch's tasks that ended without success, and maybe some that were deleted since.
    private var failureViolations: [String] {
        var expected: [String: Set<String>] = [:]
        for id in taskIDs {
            guard let batch = task(id)["batch"], let state = state(id), state.isTerminal, state != .completed else {
                continue
            }
            expected[batch, default: []].insert(id)
        }
        var violations: [String] = []
        for batch in Set(expected.keys).union(ids("failures:")) {
            let found = Set(sortedSet("failures:" + batch).keys).filter { hasTask($0) && task($0)["batch"] == batch }
            if found != expected[batch] ?? [] { violations.append("failures:\(batch) has \(found.sorted())") }
            if contents["batch:" + batch] == nil { violations.append("failures:\(batch) is of a batch that is gone") }
        }
        return violations
    }
}
