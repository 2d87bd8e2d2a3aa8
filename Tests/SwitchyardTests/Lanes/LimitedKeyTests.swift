import RedisClient
import SwitchyardTesting
import Testing

@Suite("Tasks that a concurrency limit holds")
struct LimitedKeyTests {
    private func limit(_ limit: Int, key: String = "k") -> [String: String] {
        ["concurrency_key": key, "concurrency_limit": "\(limit)"]
    }

    private func submit(_ queue: TestQueue, _ tasks: [(id: String, options: [String: String])]) async throws {
        for start in stride(from: 0, to: tasks.count, by: 500) {
            try await queue.submit(Array(tasks[start..<min(start + 500, tasks.count)]))
        }
    }

    @Test(arguments: [1, 3], [1, 6])
    func keepNoFreeTaskFromTheNextPull(most: Int, keys: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 10_000]) { queue in
            try await queue.register("a", slots: most * keys)
            try await queue.register("b", slots: 5)
            try await submit(queue, (0..<1500).map { ("k\($0)", limit(most, key: "key\($0 % keys)")) })
            #expect(try await queue.take("a", max: 100).count == most * keys)
            try await submit(queue, [("free", [:]), ("other", limit(1, key: "another"))])
            #expect(try await queue.take("b", max: 1) == ["free"])
            #expect(try await queue.take("b", max: 5) == ["other"])
            try await queue.purgeAll()
        }
    }

    @Test(arguments: [200, 1500])
    func keepNoFreeTaskFromAReportThatPulls(held: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 10_000]) { queue in
            for worker in ["a", "b"] { try await queue.register(worker) }
            try await queue.submit("first", priority: .critical)
            try await submit(queue, (0..<held).map { ("k\($0)", limit(1)) } + [("free", [:])])
            #expect(try await queue.take("b") == ["first"])
            #expect(try await queue.take("a") == ["k0"])
            let reply = try await queue.call(
                "finish", "worker", "b", "pull", "1", "start", "1", "task", "first", "attempt", "1", "outcome",
                "completed")
            #expect(reply[1]?.assignments.map(\.id) == ["free"])
            try await queue.purgeAll()
        }
    }

    @Test(arguments: ["deregister", "drain", "never came"], [1, 3, 30])
    func leaveTheTurnToOneThatAWorkerServes(how: String, unserved: Int) async throws {
        try await TestQueue.run { queue in
            let workers = how == "never came" ? ["cpu"] : ["cpu", "gpu"]
            for worker in workers { try await queue.register(worker, slots: 40, ["labels": worker]) }
            func task(_ id: String, _ needs: String) -> (id: String, options: [String: String]) {
                (id, limit(1).merging(["requires": needs]) { $1 })
            }
            try await queue.submit([task("a", "cpu")])
            try await queue.submit((0..<unserved).map { task("b\($0)", "gpu") } + [task("c", "cpu"), task("d", "cpu")])
            for (worker, got) in zip(workers, [["a"], []]) {
                #expect(try await queue.take(worker, max: 40) == got)
            }
            if workers.count == 2 { try await queue.call(how, "worker", "gpu") }
            for (running, next) in [("a", "c"), ("c", "d")] {
                try await queue.end(running)
                #expect(try await queue.take("cpu", max: 40) == [next])
            }
            // A worker that serves the other tasks comes back, and gets one once the key is free.
            try await queue.register("gpu2", slots: 40, ["labels": "gpu"])
            #expect(try await queue.take("gpu2", max: 40) == [])
            try await queue.end("d")
            #expect(try await queue.take("cpu", max: 40) == [])
            #expect(try await queue.runAll("gpu2") == (0..<unserved).map { "b\($0)" })
        }
    }

    @Test(arguments: [1, 12])
    func wakeAWorkerThatServesTheNext(unserved: Int) async throws {
        try await TestQueue.run { queue in
            for worker in ["busy", "idle"] { try await queue.register(worker, ["labels": "cpu"]) }
            try await queue.register("leaves", ["labels": "gpu"])
            let needs = { (label: String) in self.limit(1).merging(["requires": label]) { $1 } }
            try await queue.submit([("a", needs("cpu"))])
            try await queue.submit((0..<unserved).map { ("b\($0)", needs("gpu")) } + [("c", needs("cpu"))])
            #expect(try await queue.take("busy") == ["a"])
            for worker in ["leaves", "idle"] { #expect(try await queue.take(worker) == []) }
            try await queue.call("deregister", "worker", "leaves")
            try await queue.end("a")
            try await queue.tick()
            let wakeUps = try await queue.redis.client.send(RedisCommand("LLEN", .string(queue.keys.wake("idle"))))
            #expect(wakeUps.int == 1)
            #expect(try await queue.take("idle") == ["c"])
        }
    }

    @Test(arguments: [2, 3, 30], [2, 4])
    func withALowerLimitAtTheHeadKeepNobodyBehindThem(heads: Int, higher: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 50)
            let running = (0..<higher).map { "r\($0)" }
            try await queue.submit(running.map { ($0, limit(higher)) })
            try await queue.submit(
                (0..<heads).map { ("h\($0)", limit(1)) } + (0..<3).map { ("n\($0)", limit(higher)) })
            #expect(try await queue.take("w", max: 50) == running)
            for n in 0..<2 {
                try await queue.end("r\(n)")
                #expect(try await queue.take("w", max: 50) == ["n\(n)"])
            }
            for id in running.dropFirst(2) + ["n0", "n1"] { try await queue.end(id) }
            // Nothing runs: the first task may start, and with it one with the higher limit.
            #expect(try await queue.take("w", max: 50) == ["h0", "n2"])
            try await queue.end("n2")
            for n in 1..<heads {
                #expect(try await queue.take("w", max: 50) == [])
                try await queue.end("h\(n - 1)")
                #expect(try await queue.take("w", max: 50) == ["h\(n)"])
            }
        }
    }
}
