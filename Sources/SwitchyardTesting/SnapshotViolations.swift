/// What does not hold in a queue, a sentence for each.
public struct SnapshotViolations: Error, CustomStringConvertible {
    public let queue: String
    public let violations: [String]

    public init(queue: String, violations: [String]) {
        self.queue = queue
        self.violations = violations
    }

    public var description: String {
        "queue \(queue) is not consistent:\n  " + violations.joined(separator: "\n  ")
    }
}

extension Snapshot {
    /// - Throws: ``SnapshotViolations`` unless everything holds that must hold between the queue's keys.
    public func check() throws {
        let found = violations
        guard found.isEmpty else { throw SnapshotViolations(queue: keys.queue, violations: found) }
    }

    /// Everything that does not hold, a sentence for each.
    public var violations: [String] {
        strangeKeys + taskIDs.flatMap(violations(ofTask:)) + strayMembers + workerViolations + countViolations
            + batchViolations + lineViolations + limitViolations + dependencyViolations + capacityViolations
            + stagedViolations
    }

    /// Keys that no queue has, or with a type that they never have.
    private var strangeKeys: [String] {
        contents.compactMap { name, content in
            let kind = name.prefix { $0 != ":" }
            let isNamed = name.contains(":")
            switch (content, kind, isNamed) {
            case (.hash, "config", false), (.hash, "stats", false), (.sortedSet, "pending", false),
                (.sortedSet, "held", false), (.sortedSet, "leases", false), (.sortedSet, "finished", false),
                (.sortedSet, "workers", false), (.sortedSet, "idle", false), (.hash, "task", true),
                (.hash, "worker", true), (.hash, "attempts", true), (.hash, "batch", true), (.list, "wake", true),
                (.stream, "log", true), (.sortedSet, "pending", true), (.sortedSet, "lanes", false),
                (.sortedSet, "waiting", false), (.sortedSet, "blocked", _), (.sortedSet, "staged", false),
                (.sortedSet, "staged_batches", false), (.set, "running", true), (.hash, "class", false),
                (.hash, "classes", false), (.hash, "reserved", false), (.list, "dependents", true),
                (.list, "cascade", false), (.hash, "fair", true), (.list, "members", true),
                (.list, "batch_work", false), (.sortedSet, "schedules", false), (.hash, "schedule", true),
                (.string(_, expires: true), "affinity", true), (.string(_, expires: true), "rate", true),
                (.string, "unique", true):
                return nil
            default: return "key \(name) is unknown, or has a type that it never has"
            }
        }
    }

    /// Entries of indexes that point to nothing. What a task's own hash says is checked with the task.
    private var strayMembers: [String] {
        var violations: [String] = []
        for index in Self.indexes + lines {
            for id in sortedSet(index).keys where contents["task:" + id] == nil {
                violations.append("\(index) has \(id), and there is no such task")
            }
        }
        for worker in ids("attempts:") {
            for id in leases(of: worker).keys where contents["task:" + id] == nil {
                violations.append("attempts:\(worker) has \(id), and there is no such task")
            }
        }
        for id in ids("log:") where contents["task:" + id] == nil {
            violations.append("there is a log of \(id), and no such task")
        }
        return violations
    }
}
