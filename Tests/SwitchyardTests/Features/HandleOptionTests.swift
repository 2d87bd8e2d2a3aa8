import NIOCore
import Switchyard
import SwitchyardTesting
import Testing

/// Scheduling options through `SchedulerHandle`.
@Suite struct HandleOptionTests {
    static let requirements: [(given: String, normal: String?)] = [
        ("gpu", "gpu"), ("os=linux", "os=linux"), ("os!=linux", "os!=linux"), ("a in (b)", "a=b"),
        ("arch in (x86, arm,arm)", "arch=arm|x86"), ("arch=x86|arm", "arch=arm|x86"), ("a!=c|b", "a!=b|c"),
        ("", nil), ("a b", nil), ("a=", nil), ("=a", nil), ("!=a", nil), ("a in ()", nil), ("a in (b,)", nil),
        ("a in b", nil), ("a=b=c", nil), ("a=b,c=d", nil), ("ä", nil), ("+cpu=1", nil),
    ]

    @Test(arguments: requirements) func aRequirementHasOneForm(given: String, normal: String?) throws {
        var options = SchedulingOptions()
        options.requires = [given]
        if let normal {
            let checked = try options.checked()
            #expect(checked.requires == [normal])
        } else {
            #expect(throws: SchedulerError.self) { try options.checked() }
        }
    }

    @Test func everyOptionComesBack() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "first"))
            var task = QueuedTask(BuildRequest(), id: "t")
            task.scheduling.requires = ["gpu", "zone!=eu"]
            task.scheduling.resources = Resources(cpu: 0.000_01, memoryMB: 7, custom: ["license_x": 1.5])
            task.scheduling.affinityKey = "a"
            task.scheduling.groupKey = "g"
            task.scheduling.fairnessKey = "f"
            task.scheduling.fairnessWeight = 0.001
            task.scheduling.concurrencyKey = "c"
            task.scheduling.concurrencyLimit = 1_000_000
            task.scheduling.rateKey = "r"
            task.scheduling.ratePerSecond = 0.0001
            task.scheduling.rateBurst = 2
            task.scheduling.dependsOn = ["first"]
            task.scheduling.runAnyway = true
            task.scheduling.uniqueKey = "u"
            task.scheduling.uniqueFor = .milliseconds(1500)
            _ = try await queue.handle.addTask(task)
            let found = try await queue.handle.getTask("t")
            #expect(found.scheduling == task.scheduling)
            #expect(found.heldBy == .dependencies)
            let stats = try await queue.stats()
            #expect(stats.waiting == 1)
            #expect(stats.pending == 2)
        }
    }

    @Test func anEqualTaskIsAnsweredInstead() async throws {
        try await TestQueue.run { queue in
            var task = QueuedTask(BuildRequest(), id: "one")
            task.scheduling.uniqueKey = "u"
            #expect(try await queue.handle.addTask(task).isNew)
            task.id = "two"
            let added = try await queue.handle.addTask(task)
            #expect(added.isDuplicate)
            #expect(!added.isNew)
            #expect(added.task.id == "one")
            try await expectError("TaskNotFound") { _ = try await queue.handle.getTask("two") }
        }
    }

    @Test func aWorkerIsTakenForWhatItOffers() async throws {
        try await TestQueue.run { queue in
            let worker = try queue.stranger("w")
            var registration = WorkerClient.Registration(slots: 4)
            registration.labels = ["os=linux"]
            registration.resources = Resources(cpu: 2, custom: ["gpu": 1])
            _ = try await worker.register(registration)
            for id in ["a", "b"] {
                var task = QueuedTask(BuildRequest(), id: id)
                task.scheduling.requires = ["os in (linux,mac)"]
                task.scheduling.resources.custom = ["gpu": 1]
                _ = try await queue.handle.addTask(task)
            }
            #expect(try await worker.pull(max: 4, holding: 0).map(\.task.id) == ["a"])
            let info = try #require(try await queue.handle.getWorkers().first)
            #expect(info.resources == Resources(cpu: 2, custom: ["gpu": 1]))
            #expect(info.workerClass == "os=linux,+cpu=2,+gpu=1")
            let reasons = try await queue.handle.explain("b").reasons
            #expect(reasons.map(\.code) == ["insufficient_resources", "position"])
            #expect(reasons.last?.details["ahead"] == "0")
            registration.resources.custom = ["gpu": -1]
            try await expectError("BadRequest") { _ = try await worker.register(registration) }
        }
    }

    @Test func theResultsOfDependenciesComeWithTheTaskAlsoWhenItIsSentAgain() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 2)
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "a"))
            var task = QueuedTask(BuildRequest(), id: "b")
            task.scheduling.dependsOn = ["a"]
            _ = try await queue.handle.addTask(task)
            #expect(try await worker.pull(max: 2, holding: 0).map(\.dependencyResults) == [nil])
            var report = WorkerClient.Report(taskID: "a", attempt: 1, outcome: .completed)
            report.result = ByteBuffer(string: #"{"x":"é"}"#)
            let next = try await worker.finish([report], pull: 1, holding: 0).assignments
            let expected = ByteBuffer(string: #"{"a":"{\"x\":\"é\"}"}"#)
            #expect(next.map(\.dependencyResults) == [expected])
            // The reply was lost: the worker has no attempt.
            #expect(try await worker.pull(max: 1, holding: 0).map(\.dependencyResults) == [expected])
        }
    }

    @Test func aGroupIsTakenTogether() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 3)
            for (id, group) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")] {
                var task = QueuedTask(BuildRequest(), priority: .normal, id: id)
                task.scheduling.groupKey = group
                _ = try await queue.handle.addTask(task)
            }
            let taken = try await worker.pull(max: 3, holding: 0, together: true)
            #expect(Set(taken.map(\.task.id)) == ["a", "c", "e"])
        }
    }
}
