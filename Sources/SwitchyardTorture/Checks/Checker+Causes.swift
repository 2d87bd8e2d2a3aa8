import Foundation
import Switchyard

/// Why a task ran again, and what was said of it.
extension Checker {
    /// A task runs again because an attempt failed as planned, because a client asked for it, or because of a fault
    /// that reached its worker.
    static func uncaused(_ evidence: Evidence) -> [String] {
        let retried = evidence.retried
        return evidence.executionsByTask.flatMap { id, executions -> [String] in
            guard let task = evidence.tasks[id], let planned = evidence.submitted[id] else { return [] }
            return zip(executions, executions.dropFirst()).compactMap { first, second -> String? in
                guard let attempt = task.attempts.first(where: { $0.attempt == first.attempt }),
                    let outcome = attempt.outcome
                else { return nil }
                switch outcome {
                case "failed" where first.attempt <= planned.failures: return nil
                case "cancelled" where retried.contains(id): return nil
                default: break
                }
                if outcome != "completed", evidence.wasStruck(first.worker, from: first.from, to: second.from) {
                    return nil
                }
                return
                    "attempt \(first.attempt) of \(id) on \(first.worker), from \(first.from.seconds), is \(outcome), "
                    + "and no fault had struck its worker when the next began at \(second.from.seconds): "
                    + (attempt.failure?.message ?? "no reason")
                    + evidence.lastFault(reaching: first.worker, before: second.from)
            }
        }.sorted()
    }

    /// Each attempt that failed uses up a retry.
    static func uncounted(_ evidence: Evidence) -> [String] {
        let retried = evidence.retried
        return evidence.tasks.values.compactMap { task in
            guard !retried.contains(task.id) else { return nil }
            let failed = task.attempts.count { $0.outcome == "failed" }
            // The last one ends the task.
            let expected = task.state == .failed ? failed - 1 : failed
            return task.retryCount < expected
                ? "\(task.id) has \(failed) failed attempts, and counts \(task.retryCount) retries" : nil
        }.sorted()
    }

    /// What Redis publishes of an end is what it keeps.
    static func wrongTold(_ evidence: Evidence) -> [String] {
        let retried = evidence.retried
        var completed: Set<String> = []
        return evidence.told.compactMap { end -> String? in
            guard let task = evidence.tasks[end.task] else { return "the end of \(end.task) was told, and it is gone" }
            let text = "\(end.task) \(end.state) in attempt \(end.attempt)"
            if end.state == "completed", !completed.insert(end.task).inserted { return text + " was told twice" }
            // A retry by a client begins anew; what is completed stays so.
            guard end.state == "completed" || !retried.contains(end.task) else { return nil }
            guard task.state.rawValue != end.state || task.attempt != end.attempt else { return nil }
            return text + " was told, and it is \(task.state.rawValue) in attempt \(task.attempt)"
        }.sorted()
    }

    /// Replicas say loudly that data was lost, and that the clock was set back.
    static func untold(_ evidence: Evidence) -> [String] {
        let kinds = Set(evidence.faults.map(\.kind))
        var findings: [String] = []
        if kinds.contains(.flushAll), !evidence.notices.contains(.lostData) {
            findings.append("all data was lost, and no replica has said so")
        }
        if !kinds.isDisjoint(with: [.clockForward, .clockBack]), !evidence.notices.contains(.setBack) {
            findings.append("the clock was set back, and no replica has said so")
        }
        return findings
    }
}

extension FaultKind {
    /// Which attempts it may end.
    enum Reach {
        /// Those of the workers that it strikes.
        case targets
        /// Those of any worker.
        case all
        /// None: workers do not need what it strikes.
        case none
    }

    var reach: Reach {
        switch self {
        case .killWorker, .suspendWorker, .halfOpen, .refusedWorker, .cutRequests, .cutReplies, .packetLoss: .targets
        case .killReplica, .killReplicas, .suspendReplica, .killSubscribers, .rollingUpgrade: .none
        default: .all
        }
    }
}

extension FaultRecord {
    /// Whether it may end attempts of the worker.
    func reaches(_ worker: String) -> Bool {
        switch kind.reach {
        case .targets: targets.contains(worker)
        case .all: true
        case .none: false
        }
    }
}

extension Evidence {
    /// How long after a fault its consequences may come: a lease ends, and a tick finds it.
    static let aftermath = 3.0

    /// Whether a fault that may end attempts of the worker struck between two times, or shortly before.
    func wasStruck(_ worker: String, from: Uptime, to: Uptime) -> Bool {
        let before = from + -Self.aftermath
        return stalls.contains { $0.lowerBound < to && before < $0.upperBound }
            || faults.contains { $0.from < to && before < $0.to && $0.reaches(worker) }
    }

    /// For the end of a finding: the last fault that may have ended attempts of the worker, of those that began before
    /// a time.
    func lastFault(reaching worker: String, before time: Uptime) -> String {
        guard let fault = faults.filter({ $0.from < time && $0.reaches(worker) }).max(by: { $0.to < $1.to }) else {
            return "; no fault had struck the worker"
        }
        return "; the last fault there was \(fault.kind.rawValue), from \(fault.from.seconds) to \(fault.to.seconds)"
    }
}
