import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Statistics")
struct StatsTests {
    @Test func statsCountWhatIsThere() async throws {
        try await TestQueue.run { queue in
            for situation in Situation.allCases where situation != .none {
                try await queue.put(situation.rawValue, in: situation)
            }
            try await queue.worker("sleeper", slots: 3).deregister()
            _ = try await queue.worker("sleeper", slots: 3)
            try await queue.submit("urgent", priority: .critical)
            let stats = try await queue.stats()
            #expect(stats.queue == queue.name)
            #expect(stats.ready + stats.held == stats.pending)
            // `pending` was pulled by the next situation, because it was the first task.
            let snapshot = try await queue.snapshot()
            func count(_ state: TaskState) -> Int { snapshot.taskIDs.filter { snapshot.state($0) == state }.count }
            #expect(stats.pending == count(.pending))
            #expect(stats.assigned == count(.assigned))
            #expect(stats.running == count(.running))
            #expect(stats.completed == count(.completed))
            #expect(stats.failed == count(.failed))
            #expect(stats.timeout == count(.timeout))
            #expect(stats.cancelled == count(.cancelled))
            #expect(stats.readyByPriority[.critical] == 1)
            #expect(stats.readyByPriority.values.reduce(0, +) == stats.ready)
            #expect(stats.totalWorkers == 2)
            #expect(stats.slots == 103)
            #expect(stats.repaired == 0)
            #expect(stats.instance == snapshot.hash("config")["instance"])
        }
    }

    @Test func aTaskIsRoutableWhenAWorkerServesItWhicheverCameFirst() async throws {
        try await TestQueue.run { queue in
            let limit = ["concurrency_key": "k"]
            try await queue.submit([
                ("a", limit), ("b", limit), ("c", ["requires": "color!=red"]), ("d", ["requires": "gpu"]),
            ])
            #expect(try await queue.stats().unroutable == 4)
            try await queue.register("w")
            #expect(try await queue.stats().unroutable == 1)
            #expect(try await queue.take("w") == ["a"])
            #expect(try await queue.stats().unroutable == 1)
            try await queue.register("g", ["labels": "gpu"])
            #expect(try await queue.stats().unroutable == 0)
        }
    }

    @Test func theOldestPendingTaskTellsItsAge() async throws {
        try await TestQueue.run { queue in
            #expect(try await queue.stats().oldestPending == .zero)
            try await queue.submit("old", priority: .low)
            try await queue.age(by: .seconds(90))
            try await queue.submit("new", priority: .critical)
            let age = try await queue.stats().oldestPending
            #expect(age >= .seconds(90))
            #expect(age < .seconds(100))
        }
    }

    @Test func lookingAtAQueueThatIsNotThereMakesNone() async throws {
        let redis = try await TestRedis.shared
        let name = "absent-" + QueuedTask.randomID()
        let handle = try SchedulerHandle(queue: name, client: redis.client)
        #expect(try await handle.getStats().instance == nil)
        #expect(try await handle.listTasks().tasks == [])
        #expect(try await handle.getWorkers() == [])
        try await expectError("TaskNotFound") { _ = try await handle.getTask("t") }
        let snapshot = try await Snapshot(reading: Keys(queue: name), client: redis.client)
        #expect(snapshot.contents.isEmpty)
    }
}
