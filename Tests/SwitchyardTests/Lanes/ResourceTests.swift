import RedisClient
import SwitchyardTesting
import Testing

@Suite("Resources")
struct ResourceTests {
    @Test func aWorkerTakesWhatFitsItsCapacity() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 20, ["cpu": "1", "memory_mb": "1000", "resources": "license=2"])
            try await queue.submit((0..<12).map { ("c\($0)", ["cpu": "0.1"]) })
            #expect(try await queue.take("w", max: 20).count == 10)
            for id in (0..<10).map({ "c\($0)" }) { try await queue.end(id) }
            try await queue.call("cancel", "task", "c10", "task", "c11")
            try await queue.submit((0..<3).map { ("l\($0)", ["resources": "license=1", "memory_mb": "100"]) })
            try await queue.submit("m", ["memory_mb": "900"])
            #expect(try await queue.take("w", max: 20) == ["l0", "l1"])
            try await queue.end("l0")
            #expect(try await queue.take("w", max: 20) == ["l2"])
            try await queue.end("l1")
            #expect(try await queue.take("w", max: 20) == ["m"])
        }
    }

    @Test(arguments: Ending.allCases)
    func areGivenBackOnceHoweverTheAttemptEnds(ending: Ending) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 60_000]) { queue in
            let offers = ["cpu": "4", "resources": "gpu=1"]
            try await queue.register("w", slots: 4, offers)
            try await queue.submit("t", ["cpu": "3", "resources": "gpu=1"])
            try await queue.pull("w", start: ending != .released)
            try await queue.submit("next", priority: .critical, ["cpu": "4", "resources": "gpu=1"])
            #expect(try await queue.take("w", max: 3) == (ending == .released ? ["t"] : []))
            try await ending.happen(to: "t", of: "w", in: queue)
            try await queue.register("w", slots: 4, offers)
            #expect(try await queue.take("w", max: 3) == ["next"])
        }
    }

    @Test(arguments: ["affinity_key", "group_key"])
    func areRespectedByWhoLooksAhead(key: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 10, ["cpu": "8"])
            try await queue.submit((0..<5).map { ("t\($0)", ["cpu": "3", key: "k"]) })
            let reply = try await queue.call("pull", "worker", "w", "max", "10", "start", "1", "together", "1")
            #expect(reply.assignments.map(\.id) == ["t0", "t1"])
        }
    }

    @Test func smallerTasksGoBeforeOneThatDoesNotFitUntilAWorkerIsReservedForIt() async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 10_000, "max_queue_length": 5000]) { queue in
            let workers = ["w1", "w2"]
            for worker in workers { try await queue.register(worker, slots: 8, ["cpu": "8"]) }
            try await queue.submit((0..<16).map { ("first\($0)", ["cpu": "1"]) })
            for worker in workers { try await queue.take(worker, max: 8) }
            try await queue.submit("big", ["cpu": "8"])
            // One small task after the other comes and goes while the big one waits, one a second.
            var running = Dictionary(uniqueKeysWithValues: workers.map { ($0, [String]()) })
            let snapshot = try await queue.snapshot()
            for worker in workers {
                running[worker] = snapshot.hash("attempts:" + worker).keys.filter { !$0.hasPrefix("@") }.sorted()
            }
            var backfilled = 0
            var seconds = 0
            while try await queue.state("big") == "pending", seconds < 40 {
                seconds += 1
                try await queue.age(by: .seconds(1))
                for worker in workers {
                    try await queue.call("heartbeat", "worker", .string(worker))
                    try await queue.submit("s\(seconds)\(worker)", ["cpu": "1"])
                    if let oldest = running[worker]?.first {
                        running[worker]?.removeFirst()
                        try await queue.end(oldest)
                    }
                    let got = try await queue.take(worker)
                    backfilled += got.filter { $0 != "big" }.count
                    running[worker]? += got
                }
            }
            // After ten seconds a worker is reserved; after eight more the eight tasks that it runs have ended.
            #expect(try await queue.state("big") == "running")
            #expect(seconds <= 20, "it started after \(seconds) s")
            #expect(backfilled >= 20)
            #expect(try await queue.snapshot().hash("reserved").isEmpty)
        }
    }

    @Test(arguments: ["drain", "deregister", "lost"])
    func aReservationGoesWithItsWorker(how: String) async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 0]) { queue in
            for worker in ["w1", "w2"] {
                try await queue.register(worker, slots: 8, ["cpu": "8"])
                try await queue.submit("small-" + worker, maxRetries: 0, ["cpu": "1"])
                try await queue.take(worker)
            }
            try await queue.submit("big", ["cpu": "8"])
            #expect(try await queue.take("w1").isEmpty)
            #expect(try await queue.reserved() == ["+cpu=8": "w1"])
            if how == "lost" {
                try await queue.missHeartbeats(of: "w1")
                try await queue.tick()
            } else {
                try await queue.call(how, "worker", "w1")
            }
            #expect(try await queue.snapshot().hash("reserved").isEmpty)
            #expect(try await queue.take("w2").isEmpty)
            #expect(try await queue.reserved() == ["+cpu=8": "w2"])
            try await queue.end("small-w2")
            #expect(try await queue.take("w2") == ["big"])
        }
    }
}

extension TestQueue {
    /// The reserved workers, by lane, without the time at which each expects the capacity.
    fileprivate func reserved() async throws -> [String: String] {
        try await snapshot().hash("reserved").mapValues { String($0.prefix { $0 != " " }) }
    }
}
