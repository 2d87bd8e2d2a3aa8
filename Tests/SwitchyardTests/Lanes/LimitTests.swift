import RedisClient
import SwitchyardTesting
import Testing

@Suite("Limits by key")
struct LimitTests {
    @Test func noMoreTasksOfAKeyRunThanItsLimitAndTheyKeepTheirOrder() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 10)
            let limit = ["concurrency_key": "db", "concurrency_limit": "2"]
            try await queue.submit((0..<6).map { ("t\($0)", limit) } + [("free", [:])])
            #expect(try await queue.take("w", max: 10) == ["t0", "t1", "free"])
            #expect(try await queue.snapshot().sortedSet("pending:@db=2").count == 4)
            #expect(try await queue.stats().blocked == 4)
            try await queue.end("t1")
            #expect(try await queue.take("w", max: 10) == ["t2"])
            try await queue.end("t0")
            try await queue.end("t2")
            #expect(try await queue.take("w", max: 10) == ["t3", "t4"])
        }
    }

    @Test(arguments: Ending.allCases)
    func aSlotIsFreeAgainHoweverTheAttemptEnds(ending: Ending) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 60_000]) { queue in
            for worker in ["w", "other"] { try await queue.register(worker, slots: 5) }
            try await queue.submit((0..<3).map { ("t\($0)", ["concurrency_key": "k"]) })
            try await queue.pull("w", start: ending != .released)
            #expect(try await queue.take("other", max: 5).isEmpty)
            #expect(try await queue.fields(of: "t1")["held_by"] == "concurrency_limit")
            try await ending.happen(to: "t0", of: "w", in: queue)
            // After the loss of its worker, the task is pending at once, and first.
            let isBack = [.released, .leaseLost, .workerLost, .workerLeft].contains(ending)
            #expect(try await queue.take("other", max: 5) == [isBack ? "t0" : "t1"])
            #expect(try await queue.fields(of: "t2")["held_by"] == "concurrency_limit")
        }
    }

    @Test func cancellingARunningTaskWithThoseItBlockedLetsTheNextRun() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit((0..<6).map { ("t\($0)", ["concurrency_key": "k"]) })
            #expect(try await queue.take("w", max: 9) == ["t0"])
            try await queue.call("cancel", "task", "t0", "task", "t1", "task", "t2", "task", "t3")
            #expect(try await queue.take("w", max: 9) == ["t4"])
        }
    }

    @Test func aTaskThatLeavesTheLineGivesItsTurnToTheNext() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit((0..<3).map { ("t\($0)", ["concurrency_key": "k"]) })
            try await queue.take("w", max: 9)
            try await queue.end("t0")
            try await queue.call("cancel", "task", "t1")
            #expect(try await queue.take("w", max: 9) == ["t2"])
        }
    }

    /// No worker serves most of the lanes that wait for the key; the lane with a worker opens all the same.
    @Test func theEndOfATaskOpensEachOfVeryManyLanes() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1000]) { queue in
            try await queue.register("w", slots: 9)
            let key = ["concurrency_key": "k"]
            try await queue.submit([("first", key)])
            try await queue.take("w")
            try await queue.submit(
                (0..<350).map { ("t\($0)", ["requires": "need\($0)"].merging(key) { one, _ in one }) } + [("mine", key)]
            )
            try await queue.end("first")
            try await queue.snapshot()
            try await queue.tickUntilDone()
            #expect(try await queue.snapshot().contents["closed"] == nil)
            #expect(try await queue.take("w", max: 9) == ["mine"])
        }
    }

    @Test func aPausedQueueReleasesNobodyUntilItIsResumed() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit((0..<2).map { ("t\($0)", ["concurrency_key": "k"]) })
            try await queue.take("w", max: 9)
            try await queue.call("configure", "paused", "1")
            try await queue.end("t0")
            #expect(try await queue.take("w", max: 9).isEmpty)
            try await queue.call("configure", "paused", "0")
            #expect(try await queue.take("w", max: 9) == ["t1"])
        }
    }

    @Test func aRateLimitLetsABurstStartAndThenOneAfterTheOther() async throws {
        try await TestQueue.run(settings: ["lease_ms": 600_000]) { queue in
            try await queue.register("w", slots: 10)
            let rate = ["rate_key": "api", "rate_per_second": "0.1", "rate_burst": "3"]
            try await queue.submit((0..<6).map { ("t\($0)", rate) })
            #expect(try await queue.take("w", max: 10) == ["t0", "t1", "t2"])
            for (n, id) in ["t3", "t4", "t5"].enumerated() {
                #expect(try await queue.fields(of: id)["held_by"] == "rate_limit")
                try await queue.age(by: .seconds(9))
                try await queue.call("heartbeat", "worker", "w")
                try await queue.tick()
                #expect(try await queue.take("w", max: 10).isEmpty, "task \(n) is early")
                try await queue.age(by: .seconds(1))
                try await queue.tick()
                #expect(try await queue.take("w", max: 10) == [id])
            }
        }
    }

    @Test func anotherAttemptIsAnotherStartForTheRateLimit() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            try await queue.register("w", slots: 10)
            let rate = ["rate_key": "api", "rate_per_second": "0.1"]
            try await queue.submit([("t0", rate), ("t1", rate)])
            #expect(try await queue.take("w", max: 10) == ["t0"])
            try await queue.age(by: .seconds(10))
            try await queue.call("heartbeat", "worker", "w")
            try await queue.tick()
            #expect(try await queue.take("w", max: 10) == ["t1"])
            try await queue.end("t1", "failed")
            #expect(try await queue.take("w", max: 10).isEmpty)
            #expect(try await queue.fields(of: "t1")["held_by"] == "rate_limit")
        }
    }
}
