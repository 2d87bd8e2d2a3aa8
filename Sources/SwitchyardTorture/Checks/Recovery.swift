import Foundation
import Switchyard

/// How long it takes until the work goes on after a fault.
struct Recovery: Sendable {
    /// How often the fault struck.
    var count = 0
    /// The longest time without any start or end of a task, beyond the fault itself, in seconds.
    var longestGap = 0.0
    /// The longest time from the beginning of the fault until a task whose attempt it ended ran again, in seconds. Nil:
    /// it ended none.
    var slowestRestart: Double?
    /// The longest time from the beginning of the fault until another server had the queue, and until the first write
    /// after that was acknowledged, in seconds. Nil: the fault moves no queue.
    var slowestChange: Double?, slowestWrite: Double?

    /// Of each kind of fault.
    static func measured(_ evidence: Evidence) -> [FaultKind: Recovery] {
        let events = (evidence.executions.map(\.from) + evidence.executions.compactMap(\.to)).sorted()
        let faults = evidence.faults.filter { !$0.isPart }.sorted { $0.from < $1.from }
        let losses = lostAttempts(evidence)
        var recoveries: [FaultKind: Recovery] = [:]
        for (index, fault) in faults.enumerated() {
            let next = faults[(index + 1)...].first { $0.from > fault.to }?.from ?? fault.to + 5
            var recovery = recoveries[fault.kind] ?? Recovery()
            recovery.count += 1
            recovery.longestGap = max(
                recovery.longestGap, gap(around: fault, until: min(next, fault.to + 5), events))
            for loss in losses where fault.targets.contains(loss.worker) {
                guard loss.from < fault.from, fault.from < loss.again, loss.again < fault.to + 5 else { continue }
                recovery.slowestRestart = max(recovery.slowestRestart ?? 0, loss.again - fault.from)
            }
            if let change = evidence.changes(by: fault).first {
                recovery.slowestChange = max(recovery.slowestChange ?? 0, change - fault.from)
                if let write = evidence.writes.first(where: { $0 >= change }) {
                    recovery.slowestWrite = max(recovery.slowestWrite ?? 0, write - fault.from)
                }
            }
            recoveries[fault.kind] = recovery
        }
        return recoveries
    }

    private struct Loss {
        var worker: String
        var from: Uptime
        var again: Uptime
    }

    /// The attempts that ended because their worker was lost, of tasks that nothing but a worker holds up: the first
    /// loss of a task, whose retry has no backoff. A task of low priority, also one that a client has made so, waits
    /// for all others.
    private static func lostAttempts(_ evidence: Evidence) -> [Loss] {
        evidence.executionsByTask.flatMap { id, executions -> [Loss] in
            guard let task = evidence.tasks[id], let planned = evidence.submitted[id], planned.priority != .low,
                task.priority != .low,
                planned.options.concurrencyKey == nil, planned.options.rateKey == nil,
                planned.options.resources.cpu == nil, planned.options.fairnessKey == nil,
                let pair = zip(executions, executions.dropFirst()).first(where: { first, _ in
                    task.attempts.contains { $0.attempt == first.attempt && $0.outcome == "lost" }
                })
            else { return [] }
            return [Loss(worker: pair.0.worker, from: pair.0.from, again: pair.1.from)]
        }
    }

    /// The longest time without an event between the beginning of a fault and `end`. The time of the fault itself does
    /// not count.
    private static func gap(around fault: FaultRecord, until end: Uptime, _ events: [Uptime]) -> Double {
        var longest = 0.0
        var index = firstIndex(after: fault.from, events) - 1
        while index + 1 < events.count, index < 0 || events[index] < end {
            let from = max(index < 0 ? fault.from : events[index], fault.from)
            let to = min(events[index + 1], end)
            let covered = max(0, min(to.seconds, fault.to.seconds) - from.seconds)
            longest = max(longest, to - from - covered)
            index += 1
        }
        return longest
    }

    /// The index of the first event after a time, by bisection.
    private static func firstIndex(after time: Uptime, _ events: [Uptime]) -> Int {
        var (low, high) = (0, events.count)
        while low < high {
            let middle = (low + high) / 2
            if events[middle] > time { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
