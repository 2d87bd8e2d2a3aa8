import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Lost workers, leases and time limits")
struct LossTests {
    @Test func anAssignmentThatIsNeverStartedComesBackAndFailsAtTheBoundOnDeliveries() async throws {
        try await TestQueue.run(settings: ["max_deliveries": 3]) { queue in
            _ = try await queue.worker("w")
            try await queue.submit("t", maxRetries: 0)
            for delivery in 1...3 {
                #expect(try await queue.pull("w").first?.attempt == delivery)
                try await queue.expireLease(of: "t")
                #expect(try await queue.tick().expired == 1)
                try await queue.snapshot()
            }
            let task = try await queue.handle.getTask("t")
            #expect(task.state == .failed)
            #expect(task.failure?.code == "WorkerNotFound")
            #expect(task.failure?.message.contains("delivered 3 times") == true)
            #expect(task.retryCount == 0)
            #expect(task.attempts.map(\.outcome) == ["lost", "lost", "lost"])
            #expect(try await queue.stats().lost == 3)
        }
    }

    @Test func anAssignmentGivenBackIsNotCountedAsADelivery() async throws {
        try await TestQueue.run(settings: ["max_deliveries": 1]) { queue in
            _ = try await queue.worker("w")
            try await queue.submit("t", maxRetries: 0)
            for attempt in 1...4 {
                try await queue.pull("w")
                try await queue.call("release", "worker", "w", "task", "t", "attempt", .integer(Int64(attempt)))
            }
            #expect(try await queue.handle.getTask("t").state == .pending)
        }
    }

    @Test func aLeaseLastsAsLongAsHeartbeatsComeInTime() async throws {
        try await TestQueue.run(settings: ["lease_ms": 100_000, "heartbeat_ms": 30_000]) { queue in
            let worker = try await queue.worker("w")
            try await queue.submit("t")
            _ = try await worker.pull(max: 1, holding: 0)
            for _ in 0..<5 {
                try await queue.age(by: .milliseconds(60_000))
                #expect(try await queue.tick().expired == 0)
                _ = try await worker.heartbeat([("t", 1, nil)])
            }
            try await queue.age(by: .milliseconds(60_000))
            #expect(try await queue.tick().expired == 0)
            try await queue.age(by: .milliseconds(50_000))
            let tick = try await queue.tick()
            #expect(tick.expired == 1)
            #expect(tick.lostWorkers == 1)
            let task = try await queue.handle.getTask("t")
            #expect(task.state == .pending && task.retryCount == 1)
        }
    }

    @Test func theTimeLimitEndsAnAttemptHoweverManyHeartbeatsCome() async throws {
        try await TestQueue.run(settings: ["lease_ms": 100_000, "heartbeat_ms": 30_000]) { queue in
            let worker = try await queue.worker("w")
            let control = try await queue.redis.client.subscribe(to: [queue.keys.control("w")])
            try await queue.submit("t", maxRetries: 0, ["timeout_ms": "150000"])
            _ = try await worker.pull(max: 1, holding: 0)
            try await queue.age(by: .milliseconds(60_000))
            _ = try await worker.heartbeat([("t", 1, nil)])
            try await queue.age(by: .milliseconds(60_000))
            _ = try await worker.heartbeat([("t", 1, nil)])
            #expect(try await queue.tick().expired == 0)
            try await queue.age(by: .milliseconds(40_000))
            #expect(try await queue.tick().expired == 1)
            let task = try await queue.handle.getTask("t")
            #expect(task.state == .timeout)
            #expect(task.failure?.code == "Timeout")
            #expect(try await control.firstMessage() == "timeout t 1")
            let orders = try await worker.heartbeat([("t", 1, nil)])
            #expect(orders.stop.map(\.taskID) == ["t"])
            #expect(orders.stop.map(\.isCancelled) == [false])
        }
    }

    @Test func aTimedOutAttemptIsRetriedWhileRetriesAreLeft() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            let worker = try await queue.worker("w")
            try await queue.submit("t", maxRetries: 1, ["timeout_ms": "5000"])
            for (attempt, state) in [(1, TaskState.pending), (2, .timeout)] {
                #expect(try await worker.pull(max: 1, holding: 0).first?.attempt == attempt)
                try await queue.age(by: .milliseconds(5_001))
                try await queue.tick()
                #expect(try await queue.handle.getTask("t").state == state)
            }
            let attempts = try await queue.handle.getTask("t").attempts
            #expect(attempts.map(\.outcome) == ["timeout", "timeout"])
        }
    }

    @Test func aLostWorkersTasksAllComeBackAndItsWakeUpsGo() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w", slots: 10)
            for n in 0..<6 { try await queue.submit("t\(n)", maxRetries: n < 4 ? 1 : 0) }
            try await queue.pull("w", max: 2)
            try await queue.call("start", "worker", "w", "task", "t1", "attempt", "1")
            try await queue.pull("w", max: 4, start: true)
            try await queue.missHeartbeats(of: "w")
            let tick = try await queue.tick()
            #expect(tick.lostWorkers == 1)
            let after = try await queue.snapshot()
            #expect(after.ids("worker:") == [])
            #expect(after.task("t0")["held_by"] == nil)
            #expect(after.state("t0") == .pending)
            for id in ["t1", "t2", "t3"] {
                #expect(after.state(id) == .pending)
                #expect(after.task(id)["retry_count"] == "1")
            }
            for id in ["t4", "t5"] { #expect(after.state(id) == .failed) }
            #expect(try await queue.stats().lost == 6)
        }
    }

    @Test func aTickMovesNoMoreThanItsLimitAndSaysThatThereIsMore() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 60_000]) { queue in
            _ = try await queue.worker("w", slots: 10)
            for n in 0..<10 { try await queue.submit("t\(n)") }
            try await queue.pull("w", max: 10, start: true)
            try await queue.missHeartbeats(of: "w")
            var ticks = 0
            repeat {
                ticks += 1
                let tick = try await queue.tick(limit: 3)
                try await queue.snapshot()
                if !tick.more { break }
            } while ticks < 20
            #expect(ticks == 4)
            let after = try await queue.snapshot()
            #expect(after.sortedSet("pending").count == 10)
            #expect(after.ids("worker:") == [])
        }
    }

    @Test func allThatATickDoesSharesOneLimit() async throws {
        try await TestQueue.run(settings: ["retention_ms": 1000, "retry_delay_ms": 60_000]) { queue in
            for n in 0..<4 {
                try await queue.submit("ended\(n)")
                try await queue.handle.cancelTask("ended\(n)")
            }
            try await queue.age(by: .seconds(2))
            for worker in ["expiring", "lost"] {
                _ = try await queue.worker(worker, slots: 4)
                for n in 0..<4 { try await queue.submit("\(worker)\(n)") }
                try await queue.pull(worker, max: 4, start: true)
            }
            for n in 0..<4 {
                try await queue.expireLease(of: "expiring\(n)")
                try await queue.submit("due\(n)", ["delay_ms": "3600000"])
                try await queue.raw("ZADD", "{}held", "1", "due\(n)")
                try await queue.raw("HSET", "{}task:due\(n)", "due_at", "1")
            }
            try await queue.missHeartbeats(of: "lost")
            var moved: [Int] = []
            while true {
                let before = try await queue.snapshot()
                let tick = try await queue.tick(limit: 3, cleanup: true)
                let after = try await queue.snapshot()
                moved.append(
                    Set(before.taskIDs + after.taskIDs).count { before.task($0) != after.task($0) })
                if !tick.more || moved.count > 20 { break }
            }
            #expect(moved.allSatisfy { $0 <= 3 }, "\(moved)")
            #expect(moved.reduce(0, +) == 16)
            let after = try await queue.snapshot()
            #expect(after.sortedSet("pending").count == 12)
            #expect(after.sortedSet("finished") == [:])
            #expect(after.ids("worker:") == ["expiring"])
        }
    }

    @Test func aTickSaysWhenTheNextThingIsDue() async throws {
        try await TestQueue.run { queue in
            #expect(try await queue.tick().nextDue == 0)
            try await queue.submit("t", ["delay_ms": "500000"])
            let tick = try await queue.tick()
            #expect((400_000...500_000).contains(tick.nextDue - tick.now))
            try await queue.age(by: .milliseconds(400_000))
            let later = try await queue.tick()
            #expect((20_000...100_000).contains(later.nextDue - later.now))
        }
    }

    @Test func theFirstLossIsRetriedAtOnceAndLaterOnesAfterABackoff() async throws {
        try await TestQueue.run { queue in
            try await queue.submit("t", maxRetries: 5)
            for attempt in 1...2 {
                _ = try await queue.worker("w\(attempt)")
                try await queue.pull("w\(attempt)", start: true)
                try await queue.missHeartbeats(of: "w\(attempt)")
                try await queue.tick()
                let task = try await queue.handle.getTask("t")
                #expect(task.heldBy == (attempt == 1 ? nil : .retry))
            }
        }
    }

    @Test func aTaskThatKillsItsWorkersIsSetAsideWhateverRetriesAreLeft() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0, "max_deliveries": 3]) { queue in
            try await queue.submit("deadly", maxRetries: 50)
            for attempt in 1...3 {
                _ = try await queue.worker("w\(attempt)")
                try await queue.pull("w\(attempt)", start: true)
                try await queue.missHeartbeats(of: "w\(attempt)")
                try await queue.tick()
            }
            let task = try await queue.handle.getTask("deadly")
            #expect(task.state == .failed)
            #expect(task.failure?.code == "WorkerNotFound")
            #expect(task.failure?.message.hasSuffix("3 workers were lost with this task") == true)
            #expect(task.attempts.map(\.outcome) == ["lost", "lost", "lost"])
        }
    }
}
