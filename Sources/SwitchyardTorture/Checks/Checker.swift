import Switchyard

/// The rules, each a function of the evidence.
///
/// A checker over a history of calls, in which a call is acknowledged, refused or unknown, is the method of Jepsen
/// (https://jepsen.io).
enum Checker {
    /// Every violation of every rule.
    static func violations(_ evidence: Evidence) -> [Violation] {
        // Also of tasks from before a loss of all data.
        let always: [(String, (Evidence) -> [String])] = [
            ("everything ends", unended), ("counts are conserved", miscounted),
            ("processes survive", { $0.processFailures }), ("faults are told", untold),
        ]
        let rules: [(String, (Evidence) -> [String])] = [
            ("nothing acknowledged is lost", lost), ("nothing comes from nowhere", strangers),
            ("the end is as planned", wrongEnds),
            ("an attempt is executed once", repeatedAttempts), ("no two processes of one task at once", overlaps),
            ("what is cancelled ends soon", lateCancellations), ("attempts only grow", shrinkingAttempts),
            ("every execution is explained", unexplained),
            ("every repetition has a cause", uncaused), ("retries are counted", uncounted),
            ("a result never changes", changedResults), ("what is told is so", wrongTold),
            ("nothing before its time", early), ("dependencies first", disorder),
            ("the first and most urgent first", wrongOrder), ("what waits is taken", leftWaiting),
            ("limits hold", overLimit), ("resources suffice", overCommitted), ("one task of a unique key", notUnique),
        ]
        let rest = evidence.afterLosses().withoutForgotten()
        func apply(_ rules: [(String, (Evidence) -> [String])], _ evidence: Evidence) -> [Violation] {
            rules.flatMap { rule, check in check(evidence).map { Violation(rule: rule, finding: $0) } }
        }
        return apply(always, evidence) + apply(rules, rest)
    }

    // MARK: Tasks

    static func lost(_ evidence: Evidence) -> [String] {
        evidence.acknowledged.filter { evidence.tasks[$0] == nil }.sorted()
            .map { "\($0) was acknowledged, and Redis does not have it" }
    }

    static func strangers(_ evidence: Evidence) -> [String] {
        let unknown = evidence.tasks.keys.filter { evidence.submitted[$0] == nil }.sorted()
        let refused = Set(
            evidence.calls.filter { $0.kind == .submit }.flatMap { call -> [String] in
                guard case .refused = call.outcome else { return [] }
                return call.tasks
            }
        ).subtracting(evidence.acknowledged)
        return unknown.map { "nobody submitted \($0)" }
            + refused.filter { evidence.tasks[$0] != nil }.sorted().map { "\($0) was refused, and Redis has it" }
            + Set(evidence.executions.map(\.task)).filter { evidence.tasks[$0] == nil }.sorted()
            .map { "\($0) was executed, and Redis does not have it" }
    }

    static func unended(_ evidence: Evidence) -> [String] {
        evidence.tasks.values.filter { !$0.state.isTerminal }.map { "\($0.id) is \($0.state.rawValue)" }.sorted()
    }

    /// Only a client's cancellation, or that of a task it depends on, ends a task in another state than completed.
    static func wrongEnds(_ evidence: Evidence) -> [String] {
        let cancelled = Set(
            evidence.calls.filter { call in
                guard call.kind == .cancel else { return false }
                if case .refused = call.outcome { return false }
                return true
            }.flatMap(\.tasks))
        func mayBeCancelled(_ id: String) -> Bool {
            cancelled.contains(id) || evidence.submitted[id]?.options.dependsOn.contains(where: mayBeCancelled) == true
        }
        let executed = Set(evidence.executions.filter { $0.to != nil }.map(\.task))
        return evidence.tasks.values.compactMap { task in
            switch task.state {
            case .completed where !executed.contains(task.id):
                "\(task.id) completed, and no execution of it reached its end"
            case .cancelled where !mayBeCancelled(task.id): "\(task.id) was cancelled by nobody"
            case .failed, .timeout: "\(task.id) is \(task.state.rawValue): \(task.failure?.message ?? "no reason")"
            default: nil
            }
        }.sorted()
    }

    static func changedResults(_ evidence: Evidence) -> [String] {
        var findings: [String] = []
        let retried = evidence.retried
        for call in evidence.calls {
            // The reply to a submission has only a part of the task.
            guard call.kind == .get, let seen = call.seen, seen.state == .completed, !retried.contains(seen.id) else {
                continue
            }
            guard let now = evidence.tasks[seen.id] else { continue }
            if now.state != .completed || now.attempt != seen.attempt || now.finishedAt != seen.finishedAt {
                findings.append(
                    "\(seen.id) was completed by attempt \(seen.attempt), and is \(now.state.rawValue) by attempt "
                        + "\(now.attempt)"
                )
            }
        }
        return findings
    }

    static func miscounted(_ evidence: Evidence) -> [String] {
        evidence.counts.compactMap { state, counted in
            let count = evidence.tasks.values.count { $0.state == state }
            return count == counted ? nil : "\(state.rawValue): the queue counts \(counted), there are \(count)"
        }.sorted()
    }
}
