import Foundation
import Switchyard

extension Checker {
    /// How far the clock of a note may be behind the event: a shell reads it in hundredths of a second.
    private static let clockStep = 0.02

    static func repeatedAttempts(_ evidence: Evidence) -> [String] {
        evidence.executionsByTask.values.flatMap { executions in
            Dictionary(grouping: executions, by: \.attempt).values.filter { $0.count > 1 }.map { group in
                "attempt \(group[0].attempt) of \(group[0].task) was executed \(group.count) times, by "
                    + group.map { "\($0.worker) at \($0.from.seconds)" }.joined(separator: " and ")
            }
        }.sorted()
    }

    /// A worker that is stopped cannot end its processes. Everything else ends them before a lease is given again.
    static func overlaps(_ evidence: Evidence) -> [String] {
        evidence.executionsByTask.values.flatMap { executions in
            zip(executions, executions.dropFirst()).compactMap { first, second -> String? in
                if let end = evidence.end(of: first), end < second.from + clockStep { return nil }
                if evidence.wasOutOfReach(first.worker, from: first.from, to: second.from + 1) { return nil }
                // The next attempt of the same task ends before it is noted that the first was killed.
                if first.to == nil, evidence.wasEnded(first) { return nil }
                return
                    "attempt \(second.attempt) of \(first.task) began at \(second.from.seconds) on \(second.worker), "
                    + "attempt \(first.attempt) on \(first.worker) ended at "
                    + (evidence.end(of: first).map { "\($0.seconds)" } ?? "an unknown time")
            }
        }.sorted()
    }

    static func shrinkingAttempts(_ evidence: Evidence) -> [String] {
        evidence.executionsByTask.values.flatMap { executions in
            zip(executions, executions.dropFirst()).filter { $0.attempt > $1.attempt }.map {
                "attempt \($1.attempt) of \($1.task) began after attempt \($0.attempt)"
            }
        }.sorted()
    }

    /// Each execution has its attempt in the task's list, with an outcome.
    static func unexplained(_ evidence: Evidence) -> [String] {
        evidence.executionsByTask.flatMap { id, executions -> [String] in
            guard let task = evidence.tasks[id] else { return [] }
            let oldest = task.attempts.map(\.attempt).min() ?? 0
            return executions.filter { $0.attempt >= oldest }.compactMap { execution in
                guard let attempt = task.attempts.first(where: { $0.attempt == execution.attempt }) else {
                    return
                        "attempt \(execution.attempt) of \(id) was executed by \(execution.worker), and is not listed"
                }
                if attempt.worker != execution.worker {
                    return
                        "attempt \(execution.attempt) of \(id) was executed by \(execution.worker), not by "
                        + attempt.worker
                }
                return attempt.outcome == nil ? "attempt \(execution.attempt) of \(id) has no outcome" : nil
            }
        }.sorted()
    }

    // MARK: Order, by Redis's clock

    static func early(_ evidence: Evidence) -> [String] {
        evidence.tasks.values.compactMap { task in
            guard let delay = evidence.submitted[task.id]?.delay, let submitted = task.submittedAt,
                let start = task.attempts.first(where: { $0.attempt == 1 })?.assignedAt
            else { return nil }
            let waited = start.timeIntervalSince(submitted)
            let asked = delay / .seconds(1)
            return waited < asked - 0.002
                ? "\(task.id) has a delay of \(asked) s and was assigned after \(waited) s" : nil
        }.sorted()
    }

    static func disorder(_ evidence: Evidence) -> [String] {
        // A retry by a client lets a task run although what it depends on has failed or runs again.
        let retried = Set(evidence.calls.filter { $0.kind == .retry }.flatMap(\.tasks))
        return evidence.tasks.values.flatMap { task -> [String] in
            guard !retried.contains(task.id), let start = task.attempts.first?.assignedAt else { return [] }
            let needed = evidence.submitted[task.id]?.options.dependsOn ?? []
            return needed.filter { !retried.contains($0) }.compactMap { id in
                guard let before = evidence.tasks[id] else { return "\(task.id) was assigned, and \(id) is gone" }
                guard before.state == .completed, let end = before.finishedAt else {
                    return "\(task.id) was assigned, and \(id) is \(before.state.rawValue)"
                }
                return end > start ? "\(task.id) was assigned at \(start), and \(id) completed at \(end)" : nil
            }
        }.sorted()
    }

    /// At no time more executions with one concurrency key than its limit.
    static func overLimit(_ evidence: Evidence) -> [String] {
        let limited = evidence.executions.filter { evidence.submitted[$0.task]?.options.concurrencyKey != nil }
        let byKey = Dictionary(grouping: limited) { evidence.submitted[$0.task]?.options.concurrencyKey ?? "" }
        return byKey.flatMap { key, executions -> [String] in
            // Nobody knows how long one held the key that noted no end, or whose worker was out of reach.
            var changes: [(time: Uptime, starts: Bool, execution: Execution)] = []
            for execution in executions {
                guard let end = execution.to,
                    !evidence.wasOutOfReach(execution.worker, from: execution.from, to: end)
                else { continue }
                changes.append((execution.from, true, execution))
                changes.append((end, false, execution))
            }
            changes.sort { $0.time == $1.time ? !$0.starts && $1.starts : $0.time < $1.time }
            var running: [String: Execution] = [:]
            var findings: [String] = []
            for (time, starts, execution) in changes {
                let name = "\(execution.task)/\(execution.attempt)"
                running[name] = starts ? execution : nil
                // A shell reads the clock in hundredths of a second: those that end this moment do not count.
                let certain = running.values.count { ($0.to ?? time) - time > clockStep }
                if starts, certain > TaskChoices.limit {
                    findings.append(
                        "\(certain) of \(key) at once at \(time.seconds): "
                            + running.keys.sorted().joined(separator: ", ")
                    )
                }
            }
            return findings
        }.sorted()
    }
}

extension Evidence {
    /// Whether the queue knows that the attempt was ended by its worker: cancelled, timed out, or handed back.
    func wasEnded(_ execution: Execution) -> Bool {
        let attempt = tasks[execution.task]?.attempts.first { $0.attempt == execution.attempt }
        return ["cancelled", "timeout", "returned"].contains(attempt?.outcome ?? "")
    }
}
