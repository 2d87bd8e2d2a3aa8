import Foundation
import Testing

@testable import Switchyard
@testable import SwitchyardTorture

/// Evidence that is made up, with one thing wrong at a time: each rule finds what it is for, and only that.
@Suite("The checker of torture") struct CheckerTests {
    private static func at(_ seconds: Double) -> Uptime { Uptime(seconds: seconds) }

    /// Two tasks, each executed once, the second after the first.
    private static func sound() -> Evidence {
        var first = WorkloadTask(id: "a", isCommand: false, milliseconds: 1, failures: 0)
        first.options.concurrencyKey = "key"
        var second = WorkloadTask(id: "b", isCommand: true, milliseconds: 1, failures: 0)
        second.options.dependsOn = ["a"]
        second.delay = .seconds(1)
        var evidence = Evidence(
            calls: [
                Call(kind: .submit, tasks: ["a", "b"], from: at(0), to: at(0.1), outcome: .ok, seen: nil)
            ],
            submitted: ["a": first, "b": second],
            executions: [
                Execution(task: "a", attempt: 1, worker: "w1", from: at(1), to: at(2)),
                Execution(task: "b", attempt: 1, worker: "w2", from: at(3), to: at(4)),
            ],
            deaths: [:], faults: [], tasks: [:], counts: [.completed: 2, .failed: 0], processFailures: [])
        for (id, worker, start) in [("a", "w1", 1.0), ("b", "w2", 3.0)] {
            var task = QueuedTask(BuildRequest(), id: id)
            task.state = .completed
            task.attempt = 1
            task.submittedAt = Date(timeIntervalSince1970: 0)
            task.finishedAt = Date(timeIntervalSince1970: start + 1)
            task.attempts = [
                TaskAttempt(
                    attempt: 1, worker: worker, assignedAt: Date(timeIntervalSince1970: start), startedAt: nil,
                    finishedAt: task.finishedAt, outcome: "completed", exitCode: nil, failure: nil)
            ]
            evidence.tasks[id] = task
        }
        return evidence
    }

    /// The rules that find something after a change.
    private func broken(_ change: (inout Evidence) -> Void) -> Set<String> {
        var evidence = Self.sound()
        change(&evidence)
        return Set(Checker.violations(evidence).map(\.rule))
    }

    private func expect(_ rule: String, _ change: (inout Evidence) -> Void) {
        let found = broken(change)
        #expect(found.contains(rule), "\(found)")
    }

    private func expectOnly(_ rules: Set<String>, _ change: (inout Evidence) -> Void) {
        let found = broken(change)
        #expect(found == rules)
    }

    @Test func findsNothingInASoundRun() {
        expectOnly([]) { _ in }
    }

    @Test func findsLostTasks() {
        expect("nothing acknowledged is lost") { $0.tasks["b"] = nil }
    }

    @Test func findsTasksFromNowhere() {
        expect("nothing comes from nowhere") { $0.submitted["a"] = nil }
        let refused = broken { $0.calls[0].outcome = .refused("QueueFull") }
        #expect(refused == ["nothing comes from nowhere"])
    }

    @Test func findsWhatDoesNotEnd() {
        expect("everything ends") { $0.tasks["b"]?.state = .running }
        expect("the end is as planned") { $0.tasks["b"]?.state = .failed }
        expect("the end is as planned") { $0.tasks["b"]?.state = .cancelled }
        expect("the end is as planned") { $0.executions[1].to = nil }
    }

    @Test func findsRepeatedAttemptsAndOverlaps() {
        let again = Execution(task: "a", attempt: 1, worker: "w2", from: Self.at(2.5), to: Self.at(3))
        expect("an attempt is executed once") { $0.executions.append(again) }
        let overlapping = Execution(task: "a", attempt: 2, worker: "w2", from: Self.at(1.5), to: Self.at(3))
        expect("no two processes of one task at once") { $0.executions.append(overlapping) }
        // A worker that is stopped cannot end its processes.
        let explained = broken { evidence in
            evidence.executions.append(overlapping)
            evidence.faults = [
                FaultRecord(kind: .suspendWorker, targets: ["w1"], from: Self.at(1.2), to: Self.at(1.9))
            ]
        }
        #expect(!explained.contains("no two processes of one task at once"))
        let earlier = Execution(task: "a", attempt: 0, worker: "w2", from: Self.at(2.5), to: Self.at(3))
        expect("attempts only grow") { $0.executions.append(earlier) }
    }

    @Test func findsExecutionsThatNobodyListed() {
        expectOnly(["every execution is explained"]) { $0.tasks["a"]?.attempts[0].worker = "w9" }
        expectOnly(["every execution is explained"]) { $0.tasks["a"]?.attempts[0].outcome = nil }
    }

    @Test func findsWhatIsTooEarly() {
        let early = Date(timeIntervalSince1970: 0.5)
        expectOnly(["nothing before its time", "dependencies first"]) {
            $0.tasks["b"]?.attempts[0].assignedAt = early
        }
    }

    @Test func findsResultsThatChange() {
        let found = broken { evidence in
            var seen = evidence.tasks["a"]
            seen?.attempt = 3
            evidence.calls.append(
                Call(kind: .get, tasks: ["a"], from: Self.at(5), to: Self.at(6), outcome: .ok, seen: seen))
        }
        #expect(found == ["a result never changes"])
    }

    @Test func findsLimitsThatDoNotHold() {
        let found = broken { evidence in
            for index in 0..<3 {
                let id = "c\(index)"
                evidence.submitted[id] = evidence.submitted["a"]
                evidence.executions.append(
                    Execution(task: id, attempt: 1, worker: "w1", from: Self.at(1.1), to: Self.at(2)))
            }
        }
        #expect(found.contains("limits hold"))
    }

    @Test func findsWrongCountsAndDeadProcesses() {
        expectOnly(["counts are conserved"]) { $0.counts[.failed] = 1 }
        expectOnly(["processes survive"]) { $0.processFailures = ["replica-0 ended"] }
    }
}
