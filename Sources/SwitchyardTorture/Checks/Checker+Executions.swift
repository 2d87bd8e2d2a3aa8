import Foundation
import Switchyard

extension Checker {
    /// How far the clock of a note may be behind the event: a shell reads it in hundredths of a second.
    static let clockStep = 0.02

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
                if let end = evidence.countedUntil(first), end < second.from + clockStep { return nil }
                if evidence.wasOutOfReach(first.worker, from: first.from, to: second.from + 1) { return nil }
                if evidence.hasForgottenRenewal(of: first, before: second.from) { return nil }
                // The next attempt of the same task ends before it is noted that the first was killed.
                if first.to == nil, evidence.wasEnded(first) { return nil }
                return
                    "attempt \(second.attempt) of \(first.task) began at \(second.from.seconds) on \(second.worker), "
                    + "attempt \(first.attempt) on \(first.worker), \(evidence.outcome(of: first) ?? "not listed"), "
                    + "ended at " + (evidence.end(of: first).map { "\($0.seconds)" } ?? "an unknown time")
                    + evidence.lastFault(reaching: first.worker, before: second.from)
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
}

extension Evidence {
    /// Whether the queue knows that the attempt was ended by its worker: cancelled, timed out, or handed back.
    func wasEnded(_ execution: Execution) -> Bool {
        ["cancelled", "timeout", "returned"].contains(outcome(of: execution) ?? "")
    }
}
