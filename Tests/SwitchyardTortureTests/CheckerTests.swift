import Foundation
import Testing

@testable import Switchyard
@testable import SwitchyardTorture

/// Evidence that is made up, with one thing wrong at a time: each rule finds what it is for, and only that.
@Suite("The checker of torture") struct CheckerTests {
    private static func at(_ seconds: Double) -> Uptime { Uptime(seconds: seconds) }

    /// Two tasks, each executed once, the second after the first.
    static func sound() -> Evidence {
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

    @Test func allowsWhatAClientHasRetriedBeforeItsTime() {
        expectOnly([]) { evidence in
            evidence.tasks["b"]?.attempts[0].assignedAt = Date(timeIntervalSince1970: 0.5)
            evidence.calls.append(
                Call(kind: .retry, tasks: ["b"], from: Self.at(0.4), to: Self.at(0.5), outcome: .ok, seen: nil))
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

    /// A client cancels a task and retries it at once, while the worker of the first attempt has not heard of it yet.
    @Test func aCancelledAttemptMayGoOnForAMoment() {
        func cancelled(outcome: String, at time: Double, end: Double) -> Set<String> {
            broken { evidence in
                evidence.submitted["a"]?.options.resources.cpu = 3
                evidence.tasks["a"]?.attempts[0].outcome = outcome
                evidence.executions[0].to = Self.at(end)
                evidence.executions.append(
                    Execution(task: "a", attempt: 2, worker: "w1", from: Self.at(1.5), to: Self.at(1.6)))
                evidence.tasks["a"]?.attempts.append(
                    TaskAttempt(
                        attempt: 2, worker: "w1", assignedAt: Date(timeIntervalSince1970: 1.5), startedAt: nil,
                        finishedAt: Date(timeIntervalSince1970: 1.6), outcome: "completed", exitCode: nil, failure: nil)
                )
                evidence.tasks["a"]?.attempt = 2
                for kind in [Call.Kind.cancel, .retry] {
                    evidence.calls.append(
                        Call(kind: kind, tasks: ["a"], from: Self.at(time), to: Self.at(time + 0.1), outcome: .ok))
                }
            }
        }
        #expect(
            cancelled(outcome: "cancelled", at: 1.3, end: 1.8).isDisjoint(with: [
                "no two processes of one task at once", "resources suffice", "what is cancelled ends soon",
            ]))
        #expect(cancelled(outcome: "cancelled", at: 1.3, end: 4.5).contains("what is cancelled ends soon"))
        for found in [
            cancelled(outcome: "lost", at: 1.3, end: 1.8), cancelled(outcome: "cancelled", at: 1.7, end: 1.8),
        ] {
            #expect(found.isSuperset(of: ["no two processes of one task at once", "resources suffice"]), "\(found)")
        }
    }

    @Test func findsRepetitionsWithoutACause() {
        func repeated(_ outcome: String, _ fault: FaultRecord? = nil) -> Set<String> {
            broken { evidence in
                evidence.executions[0].to = Self.at(1.5)
                evidence.executions.append(
                    Execution(task: "a", attempt: 2, worker: "w2", from: Self.at(1.8), to: Self.at(2)))
                var second = evidence.tasks["a"]?.attempts[0]
                evidence.tasks["a"]?.attempts[0].outcome = outcome
                second?.attempt = 2
                second?.worker = "w2"
                if let second { evidence.tasks["a"]?.attempts.append(second) }
                evidence.tasks["a"]?.attempt = 2
                if let fault { evidence.faults = [fault] }
            }
        }
        let rule = "every repetition has a cause"
        #expect(repeated("lost") == [rule])
        let fault = FaultRecord(kind: .killWorker, targets: ["w1"], from: Self.at(1.5), to: Self.at(1.6))
        #expect(repeated("lost", fault) == [])
        // It struck another worker, or nothing that a worker needs.
        var other = fault
        other.targets = ["w2"]
        #expect(repeated("lost", other) == [rule])
        other.kind = .killReplicas
        #expect(repeated("lost", other) == [rule])
        // A failure that was not planned, and one that is not counted as a retry.
        #expect(repeated("failed") == [rule, "retries are counted"])
    }

    @Test func findsAnnouncementsThatAreNotSo() {
        expectOnly([]) { $0.told = [Announcement(task: "a", state: "completed", attempt: 1, at: Self.at(4))] }
        let rule = "what is told is so"
        expectOnly([rule]) { $0.told = [Announcement(task: "a", state: "completed", attempt: 2, at: Self.at(4))] }
        expectOnly([rule]) { $0.told = [Announcement(task: "a", state: "failed", attempt: 1, at: Self.at(4))] }
        let once = Announcement(task: "a", state: "completed", attempt: 1, at: Self.at(4))
        expectOnly([rule]) { $0.told = [once, once] }
    }

    /// Adds tasks like `a`, each submitted and started at these times, by Redis's clock.
    private func add(
        _ id: String, submitted: Double, started: Double, _ priority: TaskPriority = .normal,
        to evidence: inout Evidence
    ) {
        var planned = WorkloadTask(id: id, isCommand: false, milliseconds: 1, failures: 0)
        planned.priority = priority
        evidence.submitted[id] = planned
        guard var task = evidence.tasks["a"] else { return }
        task.id = id
        task.submittedAt = Date(timeIntervalSince1970: submitted)
        task.attempts[0].assignedAt = Date(timeIntervalSince1970: started)
        task.finishedAt = Date(timeIntervalSince1970: started + 1)
        evidence.tasks[id] = task
        evidence.executions.append(
            Execution(task: id, attempt: 1, worker: "w1", from: Self.at(started), to: Self.at(started + 1)))
        evidence.counts[.completed, default: 0] += 1
    }

    @Test func findsAWrongOrder() {
        let rule = "the first and most urgent first"
        func order(_ second: (Double, Double, TaskPriority)) -> Set<String> {
            broken { evidence in
                add("x", submitted: 5, started: 9, to: &evidence)
                add("y", submitted: second.0, started: second.1, second.2, to: &evidence)
            }
        }
        // Submitted later and started earlier; the more urgent one may.
        #expect(order((6, 8, .normal)) == [rule])
        #expect(order((6, 8, .low)) == [rule])
        #expect(order((6, 8, .high)) == [])
        #expect(order((6, 10, .normal)) == [])
        // The less urgent one, which was submitted before, started while the other waited.
        #expect(order((4, 8, .low)) == [rule])
        #expect(order((4, 4.5, .low)) == [])
        // What a client has changed may stand elsewhere.
        let changed = broken { evidence in
            add("x", submitted: 5, started: 9, to: &evidence)
            add("y", submitted: 6, started: 8, to: &evidence)
            evidence.calls.append(
                Call(kind: .prioritize, tasks: ["y"], from: Self.at(7), to: Self.at(7), outcome: .ok, seen: nil))
        }
        #expect(changed == [])
        // The clock was set back.
        let repeated = broken { evidence in
            add("x", submitted: 5, started: 9, to: &evidence)
            add("y", submitted: 6, started: 8, to: &evidence)
            evidence.repeatedTimes = [Date(timeIntervalSince1970: 8.5)...Date(timeIntervalSince1970: 9.5)]
        }
        #expect(repeated == [])
    }

    @Test func findsWhatNobodyTakes() {
        let rule = "what waits is taken"
        func waiting(_ fault: FaultKind?) -> Set<String> {
            broken { evidence in
                add("x", submitted: 5, started: 15, to: &evidence)
                evidence.calls.append(
                    Call(kind: .submit, tasks: ["x"], from: Self.at(5), to: Self.at(5), outcome: .ok, seen: nil))
                if let fault {
                    evidence.faults = [FaultRecord(kind: fault, targets: [], from: Self.at(6), to: Self.at(7))]
                }
            }
        }
        #expect(waiting(nil) == [rule])
        #expect(waiting(.killSubscribers) == [rule])
        #expect(waiting(.killRedis) == [])
    }

    @Test func findsTooMuchAtOnce() {
        let found = broken { evidence in
            for index in 0..<3 {
                add("x\(index)", submitted: 5, started: 6, to: &evidence)
                evidence.submitted["x\(index)"]?.options.resources.cpu = 2
            }
        }
        #expect(found == ["resources suffice"])
        let two = broken { evidence in
            add("x", submitted: 5, started: 6, to: &evidence)
            add("y", submitted: 6.5, started: 6.6, to: &evidence)
            for id in ["x", "y"] { evidence.submitted[id]?.options.uniqueKey = "key" }
        }
        #expect(two == ["one task of a unique key"])
        let other = broken { evidence in
            evidence.calls.append(
                Call(
                    kind: .submit, tasks: ["z"], from: Self.at(5), to: Self.at(5), outcome: .ok,
                    seen: evidence.tasks["a"]))
        }
        #expect(other == ["one task of a unique key"])
    }

    @Test func forgetsWhatWasBeforeALossOfAllData() {
        let flush = FaultRecord(kind: .flushAll, targets: [], from: Self.at(4), to: Self.at(4.1))
        let found = broken { evidence in
            evidence.faults = [flush]
            evidence.tasks = [:]
            evidence.counts[.completed] = 0
            evidence.notices = [.lostData]
        }
        #expect(found == [])
        expect("faults are told") { $0.faults = [flush] }
        expect("faults are told") {
            $0.faults = [FaultRecord(kind: .clockBack, targets: [], from: Self.at(4), to: Self.at(4.1))]
        }
        // A task from before has come again, and was returned for another with its unique key.
        let again = broken { evidence in
            evidence.faults = [flush]
            evidence.notices = [.lostData]
            evidence.calls.append(
                Call(
                    kind: .submit, tasks: ["c"], from: Self.at(5), to: Self.at(6), outcome: .ok,
                    seen: evidence.tasks["a"]))
        }
        #expect(again == [])
        // What was submitted later is there.
        expect("nothing acknowledged is lost") {
            $0.faults = [flush]
            $0.calls.append(
                Call(kind: .submit, tasks: ["c"], from: Self.at(5), to: Self.at(6), outcome: .ok, seen: nil))
        }
    }

    @Test func findsWrongCountsAndDeadProcesses() {
        expectOnly(["counts are conserved"]) { $0.counts[.failed] = 1 }
        expectOnly(["processes survive"]) { $0.processFailures = ["replica-0 ended"] }
    }
}
