import JSON
import Switchyard

/// What a run did, and what it found.
package struct TortureReport: Sendable {
    /// What must not be, by rule. Empty: the run is clean.
    package let violations: [Violation]
    /// Figures by name, in the order in which they are shown.
    package let figures: [(name: String, value: Int)]
    /// How often each fault struck, and the longest time without any start of a task around one, beyond its own
    /// duration, in seconds.
    package let faults: [(kind: FaultKind, count: Int, longestGap: Double)]
    /// Executions beyond the first of a task, by the outcome of the one before.
    package let repetitions: [(cause: String, count: Int)]
    /// How long after the last fault the last task ended, in seconds; nil: it did not within the time for it.
    package let settled: Double?
    package let seed: UInt64
    package let took: Double

    init(plan: TorturePlan, evidence: Evidence, violations: [Violation], settled: Duration?, took: Duration) {
        seed = plan.seed
        self.violations = violations
        self.settled = settled.map { $0 / .seconds(1) }
        self.took = took / .seconds(1)
        let outcomes = evidence.calls.map(\.outcome)
        figures = [
            ("tasks", evidence.tasks.count), ("calls", evidence.calls.count),
            ("calls acknowledged", outcomes.count { $0 == .ok }),
            ("calls refused", outcomes.count { if case .refused = $0 { true } else { false } }),
            ("calls without an answer", outcomes.count { if case .unknown = $0 { true } else { false } }),
            ("executions", evidence.executions.count),
            ("tasks completed", evidence.tasks.values.count { $0.state == .completed }),
            ("tasks cancelled", evidence.tasks.values.count { $0.state == .cancelled }),
        ]
        var causes: [String: Int] = [:]
        for (id, executions) in evidence.executionsByTask {
            for execution in executions.dropLast() {
                let attempt = evidence.tasks[id]?.attempts.first { $0.attempt == execution.attempt }
                causes[attempt?.outcome ?? "not listed any more", default: 0] += 1
            }
        }
        repetitions = causes.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let starts = evidence.executions.map(\.from).sorted()
        var gaps: [FaultKind: [Double]] = [:]
        for (index, fault) in evidence.faults.enumerated() {
            let next = index + 1 < evidence.faults.count ? evidence.faults[index + 1].from : fault.to + 5
            gaps[fault.kind, default: []].append(Self.gap(around: fault, until: min(next, fault.to + 5), starts))
        }
        faults = gaps.sorted { $0.key.rawValue < $1.key.rawValue }.map { ($0.key, $0.value.count, $0.value.max() ?? 0) }
    }

    /// The longest time without a start of a task between the beginning of a fault and `end`, at most 5 s after it and
    /// before the next fault. The time of the fault itself does not count.
    private static func gap(around fault: FaultRecord, until end: Uptime, _ starts: [Uptime]) -> Double {
        var longest = 0.0
        for (last, next) in zip(starts, starts.dropFirst()) where next > fault.from && last < end {
            let (from, to) = (max(last, fault.from), min(next, end))
            let covered = max(0, min(to.seconds, fault.to.seconds) - from.seconds)
            longest = max(longest, to - from - covered)
        }
        return longest
    }

    /// The report as text.
    package var text: String {
        var lines = ["seed \(seed), \(Self.format(took)) s"]
        lines += figures.map { "  \($0.name): \($0.value)" }
        lines.append("  all ended after the last fault: " + (settled.map { Self.format($0) + " s" } ?? "no"))
        lines += ["faults (times, longest gap between starts beyond the fault itself):"]
        lines += faults.map { "  \($0.kind.rawValue): \($0.count), \(Self.format($0.longestGap)) s" }
        lines += ["executions repeated, by how the one before ended:"]
        lines += repetitions.map { "  \($0.cause): \($0.count)" }
        if violations.isEmpty { return (lines + ["no violation"]).joined(separator: "\n") }
        lines.append("\(violations.count) violations:")
        for (_, group) in Dictionary(grouping: violations, by: \.rule).sorted(by: { $0.key < $1.key }) {
            lines += group.prefix(10).map { "  \($0)" }
            if group.count > 10 { lines.append("  … and \(group.count - 10) more of this rule") }
        }
        return lines.joined(separator: "\n")
    }

    /// The report as JSON.
    package var json: JSONValue {
        [
            "seed": .number("\(seed)"), "seconds": JSONValue(took),
            "figures": .object(figures.map { .init(name: $0.name, value: JSONValue($0.value)) }),
            "faults": .array(
                faults.map {
                    [
                        "kind": JSONValue($0.kind.rawValue), "count": JSONValue($0.count),
                        "longest_gap": JSONValue($0.longestGap),
                    ]
                }),
            "repetitions": .object(repetitions.map { .init(name: $0.cause, value: JSONValue($0.count)) }),
            "violations": JSONValue(violations.map(\.description)),
        ]
    }

    private static func format(_ seconds: Double) -> String { String((seconds * 100).rounded() / 100) }
}
