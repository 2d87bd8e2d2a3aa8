import Foundation
import Switchyard

/// What must not be too much at any time.
extension Checker {
    /// An execution that holds a part of something from its start to its end.
    private struct Share {
        var execution: Execution
        var end: Uptime
        var amount: Double
    }

    /// Those of which is known how long they held it: they noted an end, and their worker was in reach.
    private static func shares(
        _ evidence: Evidence, of amount: (Execution) -> Double?
    ) -> [Share] {
        evidence.executions.compactMap { execution in
            guard let amount = amount(execution), execution.to != nil, let end = evidence.countedUntil(execution),
                !evidence.wasOutOfReach(execution.worker, from: execution.from, to: end),
                !evidence.hasForgottenRenewal(of: execution, before: end)
            else { return nil }
            return Share(execution: execution, end: end, amount: amount)
        }
    }

    /// Where more than `most` is held at once.
    private static func excesses(_ shares: [Share], of name: String, most: Double) -> [String] {
        var changes: [(time: Uptime, starts: Bool, share: Share)] = []
        for share in shares {
            changes.append((share.execution.from, true, share))
            changes.append((share.end, false, share))
        }
        changes.sort { $0.time == $1.time ? !$0.starts && $1.starts : $0.time < $1.time }
        var held: [String: Share] = [:]
        var findings: [String] = []
        for (time, starts, share) in changes {
            let key = "\(share.execution.task)/\(share.execution.attempt)"
            held[key] = starts ? share : nil
            guard starts else { continue }
            // A shell reads the clock in hundredths of a second: those that end this moment do not count.
            let certain = held.values.filter { $0.end - time > clockStep }.reduce(0) { $0 + $1.amount }
            if certain > most {
                findings.append(
                    "\(certain) of \(name) at once at \(time.seconds), expected at most \(most): "
                        + held.keys.sorted().joined(separator: ", "))
            }
        }
        return findings
    }

    /// At no time more executions with one concurrency key than its limit.
    static func overLimit(_ evidence: Evidence) -> [String] {
        func key(_ task: String) -> String? { evidence.submitted[task]?.options.concurrencyKey }
        let limited = shares(evidence) { key($0.task) == nil ? nil : 1 }
        return Dictionary(grouping: limited) { key($0.execution.task) ?? "" }.flatMap {
            excesses($1, of: $0, most: Double(TaskChoices.limit))
        }.sorted()
    }

    /// At no time more cores on a worker than it has.
    static func overCommitted(_ evidence: Evidence) -> [String] {
        let reserved = shares(evidence) { evidence.submitted[$0.task]?.options.resources.cpu }
        return Dictionary(grouping: reserved, by: \.execution.worker).flatMap {
            excesses($1, of: "the cores of \($0)", most: Double(TorturePlan.cores))
        }.sorted()
    }

    /// At no time two tasks with one unique key that have not ended.
    static func notUnique(_ evidence: Evidence) -> [String] {
        let retried = evidence.retried
        func key(_ id: String) -> String? { evidence.submitted[id]?.options.uniqueKey }
        let lives = evidence.tasks.values.compactMap { task -> (key: String, id: String, from: Date, to: Date)? in
            guard let key = key(task.id), !retried.contains(task.id), let from = task.submittedAt,
                let to = task.finishedAt, !evidence.isRepeated(from, to)
            else { return nil }
            return (key, task.id, from, to)
        }
        let together = Dictionary(grouping: lives, by: \.key).values.flatMap { lives in
            let lives = lives.sorted { $0.from < $1.from }
            return zip(lives, lives.dropFirst()).filter { $1.from < $0.to }.map {
                "\($0.id) had \($0.key) from \($0.from) to \($0.to), and \($1.id) was submitted at \($1.from)"
            }
        }
        let strange = evidence.calls.compactMap { call -> String? in
            guard call.kind == .submit, call.tasks.count == 1, call.outcome == .ok, let other = call.seen?.id,
                other != call.tasks[0], key(other) == nil || key(other) != key(call.tasks[0])
            else { return nil }
            return "the submission of \(call.tasks[0]) returned \(other), which does not have its unique key"
        }
        return (together + strange).sorted()
    }
}
