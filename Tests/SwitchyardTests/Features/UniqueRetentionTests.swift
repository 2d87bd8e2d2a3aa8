import RedisClient
import SwitchyardTesting
import Testing

@Suite("Unique keys that are kept for longer than their task")
struct UniqueRetentionTests {
    private func complete(_ id: String, key: String, _ milliseconds: Int, _ queue: TestQueue) async throws {
        #expect(
            try await queue.submit([(id, ["unique_key": key, "unique_for_ms": "\(milliseconds)"])]) == [id])
        #expect(try await queue.take("w") == [id])
        try await queue.end(id, "completed", ["result": "of " + id])
    }

    @Test(arguments: [0, 1000, 20_000], [60_000, 600_000])
    func theKeyAndTheResultAreKeptAsLongAsPromised(retention: Int, promised: Int) async throws {
        try await TestQueue.run(settings: ["retention_ms": retention]) { queue in
            try await queue.register("w")
            try await complete("a", key: "k", promised, queue)
            try await complete("other", key: "brief", 1, queue)
            try await queue.submit("plain")
            #expect(try await queue.runAll("w") == ["plain"])
            var passed = 0
            for step in [0.1, 0.5, 0.95] {
                let now = Int(Double(promised) * step)
                try await queue.pass(.milliseconds(now - passed), heartbeats: ["w"])
                passed = now
                try await queue.tickUntilDone(cleanup: true)
                #expect(try await queue.submit([("late\(step)", ["unique_key": "k"])]) == ["a"])
                #expect(try await queue.fields(of: "a")["result"] == "of a")
            }
            // Tasks with a shorter retention have been deleted.
            #expect(try await queue.states(of: ["plain", "other"]) == [nil, nil])
            try await queue.pass(.milliseconds(promised - passed + 1000), heartbeats: ["w"])
            #expect(try await queue.submit([("b", ["unique_key": "k"])]) == ["b"])
            try await queue.tickUntilDone(cleanup: true)
            #expect(try await queue.states(of: ["a", "b"]) == [nil, "pending"])
        }
    }

    @Test(arguments: [1, 3])
    func theRetentionMayBecomeShorterMeanwhile(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            for n in 0..<count { try await complete("a\(n)", key: "k\(n)", 3_600_000, queue) }
            try await queue.call("configure", "retention_ms", "1000")
            try await queue.pass(.seconds(60), heartbeats: ["w"])
            try await queue.tickUntilDone(cleanup: true)
            for n in 0..<count { #expect(try await queue.submit([("b\(n)", ["unique_key": "k\(n)"])]) == ["a\(n)"]) }
        }
    }

    @Test func aTaskThatIsPurgedGivesItsKeyUp() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await complete("a", key: "k", 600_000, queue)
            #expect(try await queue.outcomes("purge", ["a"]) == ["purged"])
            try await complete("b", key: "k", 600_000, queue)
            #expect(try await queue.submit([("c", ["unique_key": "k"])]) == ["b"])
        }
    }
}
