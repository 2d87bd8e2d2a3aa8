import Foundation
import Testing

@testable import Switchyard
@testable import SwitchyardTorture

/// What the checker lets pass because of a failover, and what it finds all the same.
@Suite("Failovers in the checker of torture") struct FailoverTests {
    private static func at(_ seconds: Double) -> Uptime { Uptime(seconds: seconds) }

    /// The rules that find something after a change, in a run whose second task was executed around a failover that
    /// took from 2.5 to 3.5 s.
    private func broken(
        forgets: FaultRecord.Forgetting = .untilChange, kind: FaultKind = .sentinelFailover, changes: [Double] = [3.5],
        _ change: (inout Evidence) -> Void
    ) -> Set<String> {
        var evidence = CheckerTests.sound()
        evidence.faults = [
            FaultRecord(kind: kind, targets: [], from: Self.at(2.5), to: Self.at(3.6), forgets: forgets)
        ]
        evidence.changes = changes.map(Self.at)
        change(&evidence)
        return Set(Checker.violations(evidence).map(\.rule))
    }

    /// An attempt that the next primary does not know of: it was given to another worker before.
    private static func addForgotten(_ from: Double, attempt: Int = 1, to evidence: inout Evidence) {
        evidence.executions.append(
            Execution(task: "b", attempt: attempt, worker: "w9", from: at(from), to: at(from + 1)))
    }

    @Test(arguments: [1, 2, 3]) func letsAForgottenExecutionPass(_ attempt: Int) {
        #expect(broken { Self.addForgotten(2.6, attempt: attempt, to: &$0) } == [])
        // Shortly before the failover, as replication is behind.
        #expect(broken { Self.addForgotten(1.7, attempt: attempt, to: &$0) } == [])
    }

    @Test func findsTheSameExecutionWithoutSuchAFailover() {
        let expected: Set = ["an attempt is executed once", "every execution is explained"]
        #expect(broken(forgets: .nothing) { Self.addForgotten(2.6, to: &$0) }.isSuperset(of: expected))
        #expect(broken { Self.addForgotten(0.3, to: &$0) }.isSuperset(of: expected))
        // The queue had changed its server long before the fault was over.
        #expect(
            broken(changes: [2.6]) { evidence in
                evidence.faults[0].to = Self.at(9)
                Self.addForgotten(5, attempt: 2, to: &evidence)
            }.contains("every execution is explained"))
    }

    @Test func letsAnExecutionPassWhoseEndIsForgotten() {
        func addEnd(at end: Double, _ evidence: inout Evidence) {
            evidence.executions.append(
                Execution(task: "b", attempt: 1, worker: "w2", from: Self.at(1.2), to: Self.at(end)))
        }
        #expect(broken { addEnd(at: 2.8, &$0) } == [])
        #expect(broken(forgets: .before) { addEnd(at: 2.4, &$0) } == [])
        #expect(broken(forgets: .before) { addEnd(at: 1.4, &$0) }.contains("an attempt is executed once"))
        #expect(broken(forgets: .nothing) { addEnd(at: 2.8, &$0) }.contains("an attempt is executed once"))
    }

    /// The queue has forgotten two attempts. The second time, the worker of the second knows that it has run it.
    @Test(arguments: [true, false]) func letsForgottenAttemptsPassThatBeginAnew(isForgetful: Bool) {
        let found = broken(forgets: isForgetful ? .untilChange : .nothing) { evidence in
            Self.addForgotten(1.6, to: &evidence)
            Self.addForgotten(2.4, attempt: 2, to: &evidence)
            evidence.tasks["b"]?.attempts.append(
                TaskAttempt(
                    attempt: 2, worker: "w9", assignedAt: Date(timeIntervalSince1970: 5), startedAt: nil,
                    finishedAt: Date(timeIntervalSince1970: 6), outcome: "completed", exitCode: nil, failure: nil))
        }
        #expect(found.contains("attempts only grow") != isForgetful)
        #expect(found.contains("an attempt is executed once") != isForgetful)
    }

    /// The new primary does not know of the last heartbeats: it ends leases that their worker takes for renewed.
    @Test func letsAForgottenRenewalPass() {
        func overlapping(_ forgets: FaultRecord.Forgetting, outcome: String, next: Double, end: Double) -> Bool {
            broken(forgets: forgets) { evidence in
                evidence.executions[1].to = Self.at(end)
                evidence.tasks["b"]?.attempts[0].outcome = outcome
                evidence.executions.append(
                    Execution(task: "b", attempt: 2, worker: "w1", from: Self.at(next), to: Self.at(next + 2)))
            }.contains("no two processes of one task at once")
        }
        #expect(!overlapping(.untilChange, outcome: "lost", next: 5, end: 5.4))
        #expect(overlapping(.nothing, outcome: "lost", next: 5, end: 5.4))
        #expect(overlapping(.untilChange, outcome: "failed", next: 5, end: 5.4))
        // The worker has not stopped at its next heartbeat.
        #expect(overlapping(.untilChange, outcome: "lost", next: 5, end: 6.5))
        // Longer after the failover than a lease lasts.
        #expect(overlapping(.untilChange, outcome: "lost", next: 8, end: 8.4))
    }

    @Test func aKilledServerForgetsNothingLater() {
        func move(to seconds: Double, _ evidence: inout Evidence) {
            evidence.executions[1].from = Self.at(seconds + 0.5)
            evidence.executions[1].to = Self.at(seconds + 1)
            evidence.faults[0].to = Self.at(9)
            evidence.changes = [Self.at(8)]
            Self.addForgotten(seconds, to: &evidence)
        }
        #expect(broken(forgets: .before) { move(to: 3.4, &$0) } == [])
        #expect(broken(forgets: .before) { move(to: 5, &$0) }.contains("an attempt is executed once"))
        #expect(broken { move(to: 5, &$0) } == [])
    }

    @Test func findsAnAcknowledgedTaskThatIsLost() {
        #expect(broken { $0.tasks["b"] = nil }.contains("nothing acknowledged is lost"))
        // One that not all Redis replicas had may be lost, and was executed before.
        let found = broken { evidence in
            evidence.calls[0].tasks = ["a"]
            evidence.calls.append(
                Call(
                    kind: .submit, tasks: ["b"], from: Self.at(2), to: Self.at(2.6),
                    outcome: .unknown("NotReplicated()"), seen: nil))
            evidence.tasks["b"] = nil
            evidence.counts[.completed] = 1
        }
        #expect(found == [])
    }

    @Test func letsAForgottenEndPass() {
        let told = Announcement(task: "b", state: "completed", attempt: 7, at: Self.at(3.4))
        #expect(broken { $0.told = [told] } == [])
        #expect(broken(forgets: .nothing) { $0.told = [told] } == ["what is told is so"])
        let late = Announcement(task: "b", state: "completed", attempt: 7, at: Self.at(4.7))
        #expect(broken { $0.told = [late] } == ["what is told is so"])
        func seen(at time: Double, _ evidence: inout Evidence) {
            var task = evidence.tasks["b"]
            task?.attempt = 7
            evidence.calls.append(
                Call(kind: .get, tasks: ["b"], from: Self.at(time), to: Self.at(time), outcome: .ok, seen: task))
        }
        #expect(broken { seen(at: 3, &$0) } == [])
        #expect(broken { seen(at: 5, &$0) } == ["a result never changes"])
    }

    @Test func tiesFailoversThatNobodyOrderedToTheirChange() {
        var evidence = CheckerTests.sound()
        evidence.changes = [Self.at(3.5)]
        let failovers = evidence.unordered(on: .sentinel)
        #expect(failovers.map(\.kind) == [.sentinelFailover])
        evidence.faults = failovers
        Self.addForgotten(2.6, to: &evidence)
        #expect(Checker.violations(evidence).isEmpty)
        #expect(evidence.unordered(on: .sentinel).isEmpty)
        #expect(Recovery.measured(evidence).isEmpty)
    }

    @Test func measuresTheTimeToTheNextWrite() {
        var evidence = CheckerTests.sound()
        evidence.faults = [
            FaultRecord(kind: .clusterFailover, targets: [], from: Self.at(2.5), to: Self.at(3.6)),
            FaultRecord(kind: .killWorker, targets: ["w1"], from: Self.at(5), to: Self.at(5.1)),
        ]
        evidence.changes = [Self.at(3.5)]
        evidence.writes = [2.4, 2.6, 3.75, 4].map(Self.at)
        let measured = Recovery.measured(evidence)
        #expect(measured[.clusterFailover]?.slowestChange == 1)
        #expect(measured[.clusterFailover]?.slowestWrite == 1.25)
        #expect(measured[.killWorker]?.slowestWrite == nil)
    }

    @Test func choosesTheRedisThatFaultsNeed() throws {
        var plan = TorturePlan()
        for (faults, redis) in [
            ([.killWorker], .server), ([.killWorker, .reshard], .cluster), ([.sentinelFailover], .sentinel),
            ([.killRedis], .server), ([.clusterFailover, .reshard], .cluster),
        ] as [([FaultKind], RedisKind)] {
            try plan.choose(faults: faults)
            #expect(plan.redis == redis)
            #expect(plan.faults == faults)
        }
        try plan.choose(faults: [], on: .cluster)
        #expect(plan.faults == RedisKind.cluster.faults)
        try plan.choose(faults: [.killWorker], on: .sentinel)
        #expect(plan.redis == .sentinel)
        for faults in [[FaultKind.reshard, .sentinelFailover], [.killRedis, .reshard]] {
            #expect(throws: TortureError.self) { try plan.choose(faults: faults) }
        }
        #expect(throws: TortureError.self) { try plan.choose(faults: [.reshard], on: .sentinel) }
        #expect(Set(RedisKind.allCases.flatMap(\.faults)) == Set(FaultKind.allCases))
    }
}
