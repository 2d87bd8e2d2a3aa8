import Foundation
import Switchyard

/// What must be in order, by Redis's clock.
extension Checker {
    static func early(_ evidence: Evidence) -> [String] {
        // A retry by a client, of a task that was cancelled before it began, has no delay.
        let retried = evidence.retried
        return evidence.tasks.values.compactMap { task in
            guard !retried.contains(task.id), let delay = evidence.submitted[task.id]?.delay,
                let submitted = task.submittedAt,
                let start = task.attempts.first(where: { $0.attempt == 1 })?.assignedAt,
                !evidence.isRepeated(submitted, start)
            else { return nil }
            let waited = start.timeIntervalSince(submitted)
            let asked = delay / .seconds(1)
            return waited < asked - 0.002
                ? "\(task.id) has a delay of \(asked) s and was assigned after \(waited) s" : nil
        }.sorted()
    }

    static func disorder(_ evidence: Evidence) -> [String] {
        // A retry by a client lets a task run although what it depends on has failed or runs again.
        let retried = evidence.retried
        return evidence.tasks.values.flatMap { task -> [String] in
            guard !retried.contains(task.id), let start = task.attempts.first?.assignedAt else { return [] }
            let needed = evidence.submitted[task.id]?.options.dependsOn ?? []
            return needed.filter { !retried.contains($0) }.compactMap { id in
                guard let before = evidence.tasks[id] else { return "\(task.id) was assigned, and \(id) is gone" }
                guard before.state == .completed, let end = before.finishedAt else {
                    return "\(task.id) was assigned, and \(id) is \(before.state.rawValue)"
                }
                guard !evidence.isRepeated(start, end) else { return nil }
                return end > start ? "\(task.id) was assigned at \(start), and \(id) completed at \(end)" : nil
            }
        }.sorted()
    }

    /// A task that any worker of its label may run at any time: it has no delay, no dependency, no limit, no tenant and
    /// needs no resource.
    private static func isPlain(_ task: WorkloadTask) -> Bool {
        let options = task.options
        return task.delay == nil && options.dependsOn.isEmpty && options.concurrencyKey == nil && options.rateKey == nil
            && options.fairnessKey == nil && options.resources.cpu == nil
    }

    private struct Turn {
        var id: String
        var level: Int
        var submitted: Date
        var start: Date
        var isPlain: Bool
        /// Whether it stands in the line of the tenants, whose order is another one.
        var hasTenant: Bool
    }

    /// While a plain task waits, nothing starts that is less urgent, or as urgent and submitted later. Only first
    /// attempts are compared, and only times in different milliseconds.
    static func wrongOrder(_ evidence: Evidence) -> [String] {
        let changed = Set(
            evidence.calls.filter { [.prioritize, .retry, .cancel].contains($0.kind) }.flatMap(\.tasks))
        return [false, true].flatMap { isCommand -> [String] in
            var turns: [Turn] = []
            for (id, task) in evidence.tasks where !changed.contains(id) {
                guard let planned = evidence.submitted[id], planned.isCommand == isCommand,
                    planned.delay == nil, planned.options.dependsOn.isEmpty, let submitted = task.submittedAt,
                    let start = task.attempts.first(where: { $0.attempt == 1 })?.assignedAt,
                    !evidence.isRepeated(submitted, start)
                else { continue }
                turns.append(
                    Turn(
                        id: id, level: TaskPriority.allCases.firstIndex(of: planned.priority) ?? 0,
                        submitted: submitted, start: start, isPlain: isPlain(planned),
                        hasTenant: planned.options.fairnessKey != nil))
            }
            return passedOver(turns)
        }.sorted()
    }

    /// Looks at the starts from the last to the first, and keeps of each level the plain task that was submitted first
    /// among those that start later.
    private static func passedOver(_ turns: [Turn]) -> [String] {
        let turns = turns.sorted { ($0.start, $0.id) > ($1.start, $1.id) }
        var first: [Int: Turn] = [:]
        var findings: [String] = []
        var next = 0
        for turn in turns {
            while next < turns.count, turns[next].start > turn.start {
                let later = turns[next]
                if later.isPlain, later.submitted < first[later.level]?.submitted ?? .distantFuture {
                    first[later.level] = later
                }
                next += 1
            }
            for (level, waiting) in first where level <= turn.level {
                let bound = level < turn.level ? turn.start : turn.submitted
                if level == turn.level, turn.hasTenant { continue }
                if waiting.submitted < bound {
                    findings.append(
                        "\(turn.id) (level \(turn.level), submitted at \(text(turn.submitted))) started at "
                            + "\(text(turn.start)), and \(waiting.id) (level \(level), submitted at "
                            + "\(text(waiting.submitted))) only at \(text(waiting.start))")
                }
            }
        }
        return findings
    }

    private static func text(_ date: Date) -> String { String(format: "%.3f", date.timeIntervalSince1970) }

    /// How long no worker takes a task that it may take, although nothing is wrong.
    static let longestIdleness = 5.0

    /// While plain tasks wait and no fault strikes, workers start tasks.
    static func leftWaiting(_ evidence: Evidence) -> [String] {
        let changed = Set(
            evidence.calls.filter { [.prioritize, .retry, .cancel].contains($0.kind) }.flatMap(\.tasks))
        var acknowledged: [String: Uptime] = [:]
        for call in evidence.calls where call.kind == .submit && call.outcome == .ok {
            for id in call.tasks { acknowledged[id] = call.to }
        }
        return [false, true].flatMap { isCommand -> [String] in
            let executions = evidence.executions.filter { evidence.submitted[$0.task]?.isCommand == isCommand }
                .sorted { $0.from < $1.from }
            var firsts: [String: Uptime] = [:]
            for execution in executions where firsts[execution.task] == nil {
                firsts[execution.task] = execution.from
            }
            let waits = firsts.compactMap { id, start -> (id: String, from: Uptime, to: Uptime)? in
                guard let from = acknowledged[id], !changed.contains(id),
                    evidence.submitted[id].map(isPlain) == true
                else { return nil }
                return (id, from, start)
            }.filter { $0.to - $0.from > longestIdleness }
            let starts = executions.map(\.from)
            return zip(starts, starts.dropFirst()).filter { $1 - $0 > longestIdleness }.compactMap { last, next in
                let waiting = waits.first { wait in
                    let from = max(wait.from, last)
                    return wait.to >= next && next - from > longestIdleness
                        && !evidence.isDisturbed(from: from, to: next)
                }
                return waiting.map {
                    "no \(isCommand ? "command" : "handler") started for \(next - last) s until \(next.seconds), "
                        + "and \($0.id) waited from \($0.from.seconds)"
                }
            }
        }.sorted()
    }
}

extension Evidence {
    /// Whether a fault that concerns workers struck, or the machine stood still, between two times or shortly before.
    func isDisturbed(from: Uptime, to: Uptime) -> Bool {
        let before = from + -Checker.longestIdleness
        return faults.contains { $0.kind.reach != .none && $0.from < to && before < $0.to }
            || stalls.contains { $0.lowerBound < to && before < $0.upperBound }
    }
}
