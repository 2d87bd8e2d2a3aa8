import RedisClient
import SwitchyardTesting
import Testing

@Suite("Retention by count")
struct MaxFinishedTests {
    /// Ends `count` tasks, a second apart, in every way.
    private func end(_ count: Int, from first: Int = 0, _ queue: TestQueue) async throws {
        for n in first..<(first + count) {
            try await queue.submit("t\(n)", maxRetries: 0)
            let outcome = ["completed", "failed", "timeout", "cancelled"][n % 4]
            if outcome == "cancelled" {
                try await queue.call("cancel", "task", .string("t\(n)"))
            } else {
                #expect(try await queue.take("w") == ["t\(n)"])
                try await queue.end("t\(n)", outcome)
            }
            try await queue.pass(.seconds(1), heartbeats: ["w"])
        }
    }

    private func kept(_ queue: TestQueue, of count: Int) async throws -> [Int] {
        let states = try await queue.states(of: (0..<count).map { "t\($0)" })
        return states.indices.filter { states[$0] != nil }
    }

    @Test(arguments: [1, 3, 12, 19, 20, 21])
    func theOldestBeyondItAreDeleted(most: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await queue.submit("waits", ["requires": "gpu"])
            try await queue.call("configure", "max_finished", .integer(Int64(most)))
            try await end(20, queue)
            // Only ticks with a clean-up delete ended tasks.
            try await queue.tickUntilDone()
            #expect(try await queue.number("finished") == 20)
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await queue.number("finished") == min(most, 20))
            #expect(try await kept(queue, of: 20) == Array(max(0, 20 - most)..<20))
            #expect(try await queue.states(of: ["waits"]) == ["pending"])
            // Deleted tasks stay counted, and later ends displace the next ones.
            #expect(try await queue.number("completed") == 5)
            try await end(3, from: 20, queue)
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await kept(queue, of: 23) == Array(max(0, 23 - most)..<23))
        }
    }

    @Test(arguments: [1, 4, 100])
    func aTickDeletesNoMoreThanItsLimit(limit: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await end(11, queue)
            try await queue.call("configure", "max_finished", "2")
            var left = 11
            for _ in 0..<20 {
                let tick = try await queue.tick(limit: limit, cleanup: true)
                let now = try await queue.number("finished")
                #expect(left - now <= limit)
                #expect(tick.purged == left - now)
                left = now
                if !tick.more { break }
            }
            #expect(left == 2)
            #expect(try await kept(queue, of: 11) == [9, 10])
        }
    }

    /// The task stayed beyond the limit because of its unique key. When the key expires, the limit no longer exists.
    @Test func aTaskThatWasKeptForItsKeyHasItsRetentionWhenTheLimitIsLifted() async throws {
        try await TestQueue.run(settings: ["retention_ms": 600_000]) { queue in
            try await queue.register("w")
            try await queue.submit([("keyed", ["unique_key": "k", "unique_for_ms": "20000"])])
            #expect(try await queue.take("w") == ["keyed"])
            try await queue.end("keyed")
            try await end(3, queue)
            try await queue.call("configure", "max_finished", "1")
            try await queue.tickUntilDone(cleanup: true)
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await queue.states(of: ["keyed", "t0", "t1", "t2"]) == ["completed", nil, nil, nil])
            try await queue.call("configure", "max_finished", "0")
            try await queue.pass(.seconds(300), heartbeats: ["w"])
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await queue.states(of: ["keyed"]) == ["completed"])
            try await queue.pass(.seconds(302), heartbeats: ["w"])
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await queue.states(of: ["keyed"]) == [nil])
        }
    }

    @Test func theRetentionByTimeHoldsBesideIt() async throws {
        try await TestQueue.run(settings: ["retention_ms": 60_000]) { queue in
            try await queue.register("w")
            try await queue.call("configure", "max_finished", "5")
            try await end(4, queue)
            try await queue.pass(.milliseconds(55_500), heartbeats: ["w"])
            try await end(2, from: 4, queue)
            // The first two ended more than a minute ago.
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await kept(queue, of: 6) == [2, 3, 4, 5])
            try await queue.call("configure", "max_finished", "3")
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await kept(queue, of: 6) == [3, 4, 5])
        }
    }

    @Test func isASettingWithoutLimitByDefault() async throws {
        try await TestQueue.run { queue in
            func value() async throws -> String? {
                try await queue.call("configure").pairs["max_finished"]?.string
            }
            #expect(try await value() == "0")
            try await queue.register("w")
            try await end(12, queue)
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await queue.number("finished") == 12)
            for wrong in ["-1", "100000001", "x", "", "1.5"] {
                try await expectRefusal("BADREQUEST") {
                    try await queue.call("configure", "max_finished", .string(wrong))
                }
            }
            for right in ["100000000", "7", "0"] {
                try await queue.call("configure", "max_finished", .string(right))
                #expect(try await value() == right)
            }
        }
    }
}
