import JSON
import Switchyard

/// What a run did, and what it found.
package struct TortureReport: Sendable {
    /// What must not be, by rule. Empty: the run is clean.
    package let violations: [Violation]
    /// Figures by name, in the order in which they are shown.
    package let figures: [(name: String, value: Int)]
    /// How often each fault struck, and how long it took until the work went on, at worst.
    let faults: [(kind: FaultKind, recovery: Recovery)]
    /// Executions beyond the first of a task, by the outcome of the one before.
    package let repetitions: [(cause: String, count: Int)]
    /// How long after the last fault the last task ended, in seconds; nil: it did not within the time for it.
    package let settled: Double?
    package let seed: UInt64
    let redis: RedisKind
    package let took: Double

    init(plan: TorturePlan, evidence: Evidence, violations: [Violation], settled: Duration?, took: Duration) {
        seed = plan.seed
        redis = plan.redis
        self.violations = violations
        self.settled = settled.map { $0 / .seconds(1) }
        self.took = took / .seconds(1)
        let all = evidence
        let acknowledged = evidence.acknowledged
        let outcomes = evidence.calls.map(\.outcome)
        figures = [
            ("tasks", acknowledged.count),
            ("tasks lost with all data", acknowledged.count { evidence.tasks[$0] == nil }),
            ("calls", evidence.calls.count),
            ("calls acknowledged", outcomes.count { $0 == .ok }),
            ("calls refused", outcomes.count { if case .refused = $0 { true } else { false } }),
            ("calls without an answer", outcomes.count { if case .unknown = $0 { true } else { false } }),
            ("submissions not replicated in time", outcomes.count { $0 == .unknown("\(Client.NotReplicated())") }),
            ("failovers that nobody ordered", evidence.faults.count { $0.isPart && $0.kind.movesQueue }),
            ("executions", evidence.executions.count),
            (
                "executions that a failover has forgotten",
                evidence.executions.count - evidence.withoutForgotten().executions.count
            ),
            ("tasks completed", evidence.tasks.values.count { $0.state == .completed }),
            ("tasks cancelled", evidence.tasks.values.count { $0.state == .cancelled }),
        ]
        var causes: [String: Int] = [:]
        let evidence = evidence.afterLosses().withoutForgotten()
        for (id, executions) in evidence.executionsByTask {
            for execution in executions.dropLast() {
                let attempt = evidence.tasks[id]?.attempts.first { $0.attempt == execution.attempt }
                causes[attempt?.outcome ?? "not listed any more", default: 0] += 1
            }
        }
        repetitions = causes.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        faults = Recovery.measured(all).sorted { $0.key.rawValue < $1.key.rawValue }.map { ($0.key, $0.value) }
    }

    /// The report as text.
    package var text: String {
        var lines = ["seed \(seed), \(redis.rawValue), \(Self.format(took)) s"]
        lines += figures.map { "  \($0.name): \($0.value)" }
        lines.append("  all ended after the last fault: " + (settled.map { Self.format($0) + " s" } ?? "no"))
        lines += [
            "faults (times; longest gap in the work beyond the fault; slowest restart of a task of a lost worker):"
        ]
        lines += faults.map { kind, recovery in
            "  \(kind.rawValue): \(recovery.count); \(Self.format(recovery.longestGap)) s"
                + (recovery.slowestRestart.map { "; \(Self.format($0)) s" } ?? "")
                + (recovery.slowestChange.map { "; another server after \(Self.format($0)) s" } ?? "")
                + (recovery.slowestWrite.map { "; a write acknowledged after \(Self.format($0)) s" } ?? "")
        }
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
            "seed": .number("\(seed)"), "redis": JSONValue(redis.rawValue), "seconds": JSONValue(took),
            "settled": settled.map { JSONValue($0) } ?? .null,
            "figures": .object(figures.map { .init(name: $0.name, value: JSONValue($0.value)) }),
            "faults": .array(
                faults.map { kind, recovery in
                    [
                        "kind": JSONValue(kind.rawValue), "count": JSONValue(recovery.count),
                        "longest_gap": JSONValue(recovery.longestGap),
                        "slowest_restart": recovery.slowestRestart.map { JSONValue($0) } ?? .null,
                        "slowest_change": recovery.slowestChange.map { JSONValue($0) } ?? .null,
                        "slowest_write": recovery.slowestWrite.map { JSONValue($0) } ?? .null,
                    ]
                }),
            "repetitions": .object(repetitions.map { .init(name: $0.cause, value: JSONValue($0.count)) }),
            "violations": JSONValue(violations.map(\.description)),
        ]
    }

    private static func format(_ seconds: Double) -> String { String((seconds * 100).rounded() / 100) }
}
