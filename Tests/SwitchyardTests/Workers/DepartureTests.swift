import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Draining and leaving")
struct DepartureTests {
    @Test func aDrainingWorkerGetsNoMoreWorkAndIsToldSo() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 5)
            let control = try await queue.redis.client.subscribe(to: [queue.keys.control("w")])
            try await queue.submit("t0")
            _ = try await worker.pull(max: 1, holding: 0)
            #expect(try await worker.pull(max: 1, holding: 1) == [])
            try await queue.handle.drainWorker("w")
            #expect(try await control.firstMessage() == "drain")
            let added = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .normal, id: "t1"))
            #expect(added.wokeWorker == false)
            #expect(try await worker.pull(max: 1, holding: 1) == [])
            #expect(try await worker.heartbeat([("t0", 1, nil)]).drain)
            #expect(try await queue.handle.getWorkers().map(\.isDraining) == [true])
            #expect(try await queue.finish("w", "t0", attempt: 1, "completed").string == "completed")
        }
    }

    @Test func aDrainingWorkerIsNotWokenWhenAPausedQueueGoesOn() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w")
            try await queue.handle.drainWorker("w")
            try await queue.handle.pause()
            #expect(try await worker.pull(max: 1, holding: 0) == [])
            #expect(try await queue.snapshot().sortedSet("idle") == [:])
        }
    }

    @Test func aWorkerThatLeavesGivesBackWhatItHolds() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 5)
            for id in ["started", "last", "assigned"] {
                try await queue.submit(id, maxRetries: id == "last" ? 0 : 1)
            }
            _ = try await worker.pull(max: 2, holding: 0)
            try await queue.pull("w")
            #expect(try await queue.call("deregister", "worker", "w").int == 3)
            let after = try await queue.snapshot()
            #expect(after.state("assigned") == .pending)
            #expect(after.task("assigned")["deliveries"] == "0")
            #expect(after.state("started") == .pending)
            #expect(after.task("started")["retry_count"] == "1")
            #expect(after.state("last") == .failed)
            #expect(after.ids("worker:") == [])
            #expect(try await queue.stats().slots == 0)
        }
    }

    @Test func aWorkerThatHoldsVeryMuchLeavesInSteps() async throws {
        try await TestQueue.run { queue in
            let leaving = try await queue.worker("leaving", slots: 100)
            for n in 0..<100 { try await queue.submit("t\(n)", maxRetries: 0) }
            try await queue.pull("leaving", max: 60, start: true)
            try await queue.pull("leaving", max: 40)
            #expect(try await queue.call("deregister", "worker", "leaving").int == 100)
            let left = try await queue.snapshot()
            #expect(left.sortedSet("leases").count == 75)
            // It gets no more tasks meanwhile.
            #expect(try await queue.pull("leaving", max: 100).allSatisfy { left.state($0.id) == .assigned })
            var ticks: [TestQueue.Tick] = []
            repeat { try await ticks.append(queue.tick(limit: 25)) } while ticks.last?.more == true && ticks.count < 10
            #expect(ticks.count == 4)
            #expect(ticks.allSatisfy { $0.lostWorkers == 0 })
            let after = try await queue.snapshot()
            #expect(after.ids("worker:") == [])
            for n in 0..<60 {
                #expect(after.state("t\(n)") == .failed)
                #expect(after.task("t\(n)")["error_message"]?.contains("left while it ran") == true)
            }
            for n in 60..<100 {
                #expect(after.state("t\(n)") == .pending)
                #expect(after.task("t\(n)")["deliveries"] == "0")
            }
            #expect(try await queue.stats().slots == 0)
            try await expectError("WorkerNotFound") { try await leaving.deregister() }
        }
    }

    @Test func aWorkerThatComesBackWhileItLeavesGoesOnWithTheRest() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 50)
            for n in 0..<40 { try await queue.submit("t\(n)") }
            try await queue.pull("w", max: 40, start: true)
            try await worker.deregister()
            _ = try await queue.worker("w", slots: 50)
            #expect(try await queue.tick().lostWorkers == 0)
            let held = try await queue.pull("w", max: 0, holding: 0)
            #expect(held.count == 15)
            #expect(try await queue.pull("w", max: 1, start: true, holding: 15).count == 1)
        }
    }

    @Test func aWorkerThatLeavesWithNothingWakesNobody() async throws {
        try await TestQueue.run { queue in
            for id in ["w1", "w2", "w3"] {
                _ = try await queue.worker(id)
                try await queue.pull(id)
            }
            try await queue.call("deregister", "worker", "w1")
            let after = try await queue.snapshot()
            #expect(after.sortedSet("idle").keys.sorted() == ["w2", "w3"])
            #expect(after.ids("wake:") == [])
        }
    }

    @Test func whatALeavingWorkerGivesBackWakesAnotherOne() async throws {
        try await TestQueue.run { queue in
            let leaving = try await queue.worker("leaving", slots: 2)
            try await queue.submit("t")
            try await queue.pull("leaving")
            #expect(try await queue.pull("leaving", max: 2).count == 1)
            let other = try await queue.worker("other")
            #expect(try await other.pull(max: 1, holding: 0) == [])
            #expect(try await queue.snapshot().sortedSet("idle").count == 2)
            try await leaving.deregister()
            #expect(try await queue.snapshot().listCount("wake:other") == 1)
            #expect(try await other.pull(max: 1, holding: 0).map(\.task.id) == ["t"])
        }
    }

    @Test func aSleeperWhoseAttemptIsLostIsWokenOnce() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4, ["cpu": "4"])
            try await queue.submit("t", ["cpu": "1"])
            #expect(try await queue.take("w", max: 4) == ["t"])
            try await queue.expireLease(of: "t")
            try await queue.tick()
            #expect(try await queue.snapshot().listCount("wake:w") == 1)
        }
    }

    @Test func leavingAPausedQueueWakesNobody() async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: .assigned)
            let other = try await queue.worker("other")
            #expect(try await other.pull(max: 1, holding: 0) == [])
            try await queue.handle.pause()
            try await queue.call("deregister", "worker", .string(TestQueue.holder))
            #expect(try await queue.snapshot().ids("wake:") == [])
        }
    }

    @Test func registeringAgainKeepsWhatAWorkerHolds() async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: .running)
            let before = try await queue.snapshot()
            _ = try await queue.worker(TestQueue.holder, slots: 100)
            let after = try await queue.snapshot()
            #expect(after.changes(since: before, ignoring: ["workers", "worker:holder labels"]) == [])
            _ = try await queue.worker(TestQueue.holder, slots: 7)
            #expect(try await queue.stats().slots == 7)
        }
    }

    @Test func aWorkerTellsWhatItIs() async throws {
        try await TestQueue.run { queue in
            let worker = try queue.stranger("w:1")
            var registration = WorkerClient.Registration(slots: 4)
            registration.labels = ["os=linux", "gpu"]
            registration.cpu = 2.5
            registration.memoryMB = 4096
            registration.host = "h"
            registration.processID = 12
            registration.version = "1.0"
            let terms = try await worker.register(registration)
            #expect(terms.heartbeat == .seconds(5))
            #expect(terms.lease == .seconds(15))
            let found = try #require(try await queue.handle.getWorkers().first)
            #expect(found.id == "w:1")
            #expect(found.slots == 4)
            #expect(found.labels == ["os=linux", "gpu"])
            #expect(found.resources.cpu == 2.5)
            #expect(found.resources.memoryMB == 4096)
            #expect(found.busy == 0)
        }
    }
}
