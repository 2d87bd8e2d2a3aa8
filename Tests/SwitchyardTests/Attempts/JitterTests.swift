import RedisClient
import SwitchyardTesting
import Testing

@Suite("Jitter of retries")
struct JitterTests {
    /// How early (negative) or late each of `ids`, which are held for a retry, becomes due, as a fraction of the
    /// backoff.
    private func jitter(_ queue: TestQueue, _ ids: [String], of delay: Double) async throws -> [Double] {
        let reply = try await queue.call("get", ids.flatMap { ["task", .string($0)] as [RedisArgument] })
        let due = (reply.array ?? []).map { task -> Double? in
            #expect(task.pairs["state"]?.string == "pending")
            let due = task.pairs["due_at"]?.int
            #expect(task.pairs["held_by"]?.string == (due == nil ? nil : "retry"))
            return due.map { Double($0) }
        }
        // The attempts' records tell the time of the call that ended them, from which the backoff counts.
        let records = try (reply.array ?? []).map { task in
            try #require(task.pairs["attempt:\(task.pairs["attempt"]?.int ?? 0)"]?.string)
        }
        let ends = try records.map { record in
            let match = try #require(record.firstMatch(of: /"finished_at":(\d+)/))
            return try #require(Double(match.1))
        }
        // A task that is early by its whole backoff, one in two thousand with a jitter of 100 %, is pending at once.
        return zip(due, ends).map { (($0 ?? $1) - $1) / delay - 1 }
    }

    private func finish(_ queue: TestQueue, _ ids: [String], attempt: Int, _ outcome: String) async throws {
        try await queue.call(
            "finish",
            ["worker", "w"]
                + ids.flatMap {
                    ["task", .string($0), "attempt", .integer(Int64(attempt)), "outcome", .string(outcome)]
                        as [RedisArgument]
                })
    }

    @Test(arguments: ["failed", "timeout"], [5, 20, 100])
    func spreadsTheTasksThatOneCallFails(outcome: String, percent: Int) async throws {
        let settings = ["retry_delay_ms": 100_000, "retry_jitter_percent": percent, "lease_ms": 3_600_000]
        try await TestQueue.run(settings: settings) { queue in
            try await queue.register("w", slots: 40)
            // Ids of one length, like generated ones, and consecutive, as in a batch.
            let ids = (0..<40).map { "build-\(1000 + $0)" }
            try await queue.submit(ids.map { ($0, [:]) })
            #expect(try await queue.take("w", max: 40).count == 40)
            try await finish(queue, ids, attempt: 1, outcome)
            let found = try await jitter(queue, ids, of: 100_000)
            let most = Double(percent) / 100
            #expect(found.allSatisfy { abs($0) <= most + 0.001 }, "\(found)")
            #expect(Set(found).count >= 30, "\(found)")
            #expect((found.max() ?? 0) - (found.min() ?? 0) >= most, "\(found)")
            // The jitter must not rise from the first task to the last, either: neighbours differ.
            #expect(zip(found, found.dropFirst()).count { $0 < $1 } < 36, "\(found)")
        }
    }

    @Test func spreadsTheTasksThatOneTickFails() async throws {
        let settings = ["retry_delay_ms": 100_000, "lease_ms": 3_600_000]
        try await TestQueue.run(settings: settings) { queue in
            try await queue.register("w", slots: 25)
            let ids = (0..<25).map { "t\(10 + $0)" }
            try await queue.submit(ids.map { ($0, ["timeout_ms": "60000"]) })
            #expect(try await queue.take("w", max: 25).count == 25)
            try await queue.pass(.seconds(61), heartbeats: ["w"])
            #expect(try await queue.tick().expired == 25)
            let found = try await jitter(queue, ids, of: 100_000)
            #expect(found.allSatisfy { abs($0) <= 0.201 }, "\(found)")
            #expect(Set(found).count >= 20, "\(found)")
            #expect((found.max() ?? 0) - (found.min() ?? 0) >= 0.2, "\(found)")
        }
    }

    @Test func isAnotherOneForEachAttempt() async throws {
        let settings = ["retry_delay_ms": 100_000, "retry_delay_max_ms": 100_000, "lease_ms": 3_600_000]
        try await TestQueue.run(settings: settings) { queue in
            try await queue.register("w", slots: 30)
            let ids = (0..<30).map { "t\(10 + $0)" }
            try await queue.submit(ids.map { ($0, ["max_retries": "9"]) })
            var rounds: [[Double]] = []
            for attempt in 1...3 {
                #expect(try await queue.take("w", max: 30).count == 30)
                try await finish(queue, ids, attempt: attempt, "failed")
                rounds.append(try await jitter(queue, ids, of: 100_000))
                try await queue.pass(.seconds(121), heartbeats: ["w"])
                try await queue.tick()
                try await queue.tick()
            }
            // Tasks that were due together once are not due together again: their order by jitter changes.
            let orders = rounds.map { round in ids.indices.sorted { round[$0] < round[$1] } }
            #expect(Set(orders).count == 3)
            #expect(rounds.allSatisfy { Set($0).count >= 25 }, "\(rounds)")
        }
    }

    @Test func ofNoPercentIsNone() async throws {
        let settings = ["retry_delay_ms": 100_000, "retry_jitter_percent": 0]
        try await TestQueue.run(settings: settings) { queue in
            try await queue.register("w", slots: 9)
            let ids = (0..<9).map { "t\($0)" }
            try await queue.submit(ids.map { ($0, [:]) })
            try await queue.take("w", max: 9)
            try await finish(queue, ids, attempt: 1, "failed")
            #expect(Set(try await jitter(queue, ids, of: 100_000)) == [0])
        }
    }
}
