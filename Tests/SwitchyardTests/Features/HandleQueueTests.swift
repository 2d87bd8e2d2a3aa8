import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Priority changes, demand, and operations on a whole queue through `SchedulerHandle`.
@Suite struct HandleQueueTests {
    @Test func aPriorityChangesInPlace() async throws {
        try await TestQueue.run { queue in
            for id in ["a", "b", "c"] { try await queue.submit(id) }
            let changed = try await queue.handle.changePriority("c", to: .high)
            #expect(changed.priority == .high)
            #expect(changed.position == 0)
            #expect(try await queue.handle.changePriority("a", to: .low).position == 2)
            // Back in its level, the task has its original position.
            #expect(try await queue.handle.changePriority("c", to: .normal).position == 1)
            _ = try await queue.worker("w")
            #expect(try await queue.runAll("w") == ["b", "c", "a"])
            try await expectError("InvalidStateTransition") { try await queue.handle.changePriority("a", to: .high) }
            try await expectError("TaskNotFound") { try await queue.handle.changePriority("none", to: .high) }
        }
    }

    @Test func demandCountsALaneForTheClassWithMostFreeSlots() async throws {
        try await TestQueue.run { queue in
            var small = WorkerClient.Registration(slots: 2)
            small.labels = ["os=linux"]
            var big = WorkerClient.Registration(slots: 8)
            big.labels = ["gpu", "os=linux"]
            _ = try await queue.stranger("s").register(small)
            _ = try await queue.stranger("b").register(big)
            for id in 0..<12 { try await queue.submit("l\(id)", ["requires": "os=linux"]) }
            try await queue.submit("m", ["requires": "mars"])
            let demand = try await queue.handle.demand()
            #expect(demand.classes.map(\.name) == ["gpu,os=linux", "os=linux"])
            #expect(demand.classes.map(\.ready) == [12, 0])
            #expect(demand.classes.map(\.desiredWorkers) == [2, 0])
            #expect(demand.unserved == 1)
            #expect(demand.desiredWorkers == 2)
            let missing = try await queue.handle.demand(countingClass: "mars", slots: 4)
            #expect(missing.desiredWorkers(of: "mars") == 1)
            #expect(try await queue.stats().unroutable == 1)
        }
    }

    @Test func aQueueDrainsAndIsPurged() async throws {
        try await TestQueue.run { queue in
            for id in 0..<250 { try await queue.submit("t\(id)") }
            try await queue.handle.drain()
            try await expectError("QueueDraining") { _ = try await queue.handle.addTask(QueuedTask(BuildRequest())) }
            _ = try await queue.worker("w", slots: 2)
            #expect(try await queue.pull("w", max: 2).count == 2)
            try await expectError("BadRequest") { try await queue.handle.purgeQueue(confirm: "other") }
            try await queue.handle.purgeQueue(confirm: queue.name)
            let stats = try await queue.stats()
            #expect(stats.pending == 0)
            #expect(stats.assigned == 0)
            #expect(try await queue.handle.listTasks().tasks.isEmpty)
            try await queue.handle.resume()
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest()))
        }
    }

    @Test func lookingAtSettingsDoesNotMakeTheQueue() async throws {
        try await TestQueue.run { queue in
            let settings = try await queue.handle.configure([])
            #expect(settings["reserve_after_ms"] == 10000)
            #expect(try await queue.handle.getStats().instance == nil)
        }
    }

    @Test func aMistypedNameMakesNoQueue() async throws {
        try await TestQueue.run { queue in
            func isKnown() async throws -> Bool {
                try await queue.redis.client.send(RedisCommand("SISMEMBER", "switchyard:queues", .string(queue.name)))
                    .int
                    == 1
            }
            let handle = queue.handle
            for _ in 0..<2 {
                try await expectError("QueueNotFound") { try await handle.pause() }
                try await expectError("QueueNotFound") { try await handle.drain() }
                try await expectError("QueueNotFound") { try await handle.resume() }
                try await expectError("QueueNotFound") { try await handle.purgeQueue(confirm: handle.queue) }
                let task = QueuedTask(BuildRequest())
                try await expectError("NoWorkers") { _ = try await handle.addTask(task, rejectIfNoWorkers: true) }
                var waiting = QueuedTask(BuildRequest())
                waiting.scheduling.dependsOn = ["none"]
                try await expectError("BadRequest") { _ = try await handle.addTasks([task, waiting]) }
            }
            #expect(try await handle.exists() == false)
            #expect(try await isKnown() == false)
            // An accepted task makes it.
            _ = try await handle.addTask(QueuedTask(BuildRequest()))
            #expect(try await isKnown())
            try await handle.pause()
            #expect(try await handle.getStats().isPaused)
            // A queue that somebody made is known before it takes another task.
            _ = try await queue.redis.client.send(RedisCommand("SREM", "switchyard:queues", .string(queue.name)))
            let other = try SchedulerHandle(queue: queue.name, client: queue.redis.client, logger: TestRedis.quiet)
            try await expectError("NoWorkers") {
                _ = try await other.addTask(QueuedTask(BuildRequest()), rejectIfNoWorkers: true)
            }
            #expect(try await isKnown())
        }
    }
}
