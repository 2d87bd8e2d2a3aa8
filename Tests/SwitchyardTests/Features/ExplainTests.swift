import RedisClient
import SwitchyardTesting
import Testing

@Suite("Why a task waits")
struct ExplainTests {
    private func expect(
        _ queue: TestQueue, _ id: String, _ code: String, _ numbers: [String: String] = [:],
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let reasons = try await queue.reasons(id)
        let reason = reasons.first { $0["code"] == code }
        let isThere = reason != nil
        #expect(isThere, "\(reasons)", sourceLocation: sourceLocation)
        for (name, value) in numbers {
            let found = reason?[name]
            #expect(found == value, "\(name) of \(code): \(reasons)", sourceLocation: sourceLocation)
        }
        let message = reason?["message"] ?? ""
        #expect(message.count > 8, sourceLocation: sourceLocation)
    }

    @Test func saysWhatHoldsIt() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 60_000]) { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit([
                ("k0", ["concurrency_key": "k"]), ("k1", ["concurrency_key": "k"]), ("k2", ["concurrency_key": "k"]),
                ("r0", ["rate_key": "r", "rate_per_second": "0.1"]),
                ("r1", ["rate_key": "r", "rate_per_second": "0.1"]), ("fails", [:]),
                ("later", ["delay_ms": "60000"]), ("waits", ["depends_on": "k0,k1"]),
            ])
            #expect(try await queue.take("w", max: 9) == ["k0", "r0", "fails"])
            try await queue.end("fails", "failed")
            try await expect(queue, "later", "schedule")
            try await expect(queue, "fails", "backoff", ["retry_count": "1", "max_retries": "2"])
            try await expect(queue, "waits", "dependencies", ["count": "2"])
            try await expect(
                queue, "k2", "concurrency_limit", ["key": "k", "running": "1", "limit": "1", "ahead": "1"])
            try await expect(queue, "r1", "rate_limit", ["key": "r"])
            #expect(try await queue.reasons("k0").isEmpty)
        }
    }

    @Test func saysWhoStandsBeforeItAndThatTheQueueIsPaused() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            for id in ["a", "b", "c"] { try await queue.submit(id) }
            try await queue.call("configure", "paused", "1")
            try await expect(queue, "c", "position", ["ahead": "2", "priority": "normal"])
            try await expect(queue, "c", "paused")
        }
    }

    @Test func saysHowManyWorkersItLookedAtIfThereAreMore() async throws {
        try await TestQueue.run { queue in
            try await queue.submit("t")
            for (count, looked) in [(2000, nil), (2001, "2000")] {
                let known = try await queue.stats().totalWorkers
                let calls = (known..<count).map { n in
                    RedisCommand(
                        "FCALL", "switchyard_register", 2, .string(queue.keys.prefix), .string(queue.keys.config),
                        "worker", .string("w\(n)"))
                }
                for reply in try await queue.redis.client.pipeline(calls, deadline: .seconds(30)) {
                    #expect(reply.error == nil)
                }
                let position = try await queue.reasons("t").first { $0["code"] == "position" }
                #expect(position?["looked_at"] == looked)
                #expect(position?["message"]?.contains("of 2001 workers 2000 were looked at") == (looked != nil))
            }
        }
    }

    @Test func saysWhyNoWorkerTakesIt() async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 0]) { queue in
            try await queue.submit("early")
            try await expect(queue, "early", "no_worker_matches", ["workers": "0"])
            try await queue.call("cancel", "task", "early")
            try await queue.register("big", slots: 3, ["cpu": "8"])
            try await queue.register("one", slots: 1, ["cpu": "2", "labels": "gpu"])
            try await queue.submit([("s1", ["cpu": "1"]), ("s2", ["requires": "gpu"])])
            #expect(try await queue.take("big") == ["s1"])
            #expect(try await queue.take("one") == ["s2"])
            try await queue.submit([
                ("huge", ["cpu": "99"]), ("label", ["requires": "mac"]), ("gpu", ["requires": "gpu"]),
                ("eight", ["cpu": "8"]), ("small", ["cpu": "1"]),
            ])
            try await expect(queue, "huge", "no_worker_matches", ["matching": "0"])
            try await expect(queue, "label", "no_worker_matches", ["workers": "2"])
            try await expect(queue, "gpu", "workers_busy", ["workers": "1", "matching": "1"])
            try await expect(queue, "eight", "insufficient_resources", ["workers": "1", "matching": "1"])
            #expect(try await queue.take("big").isEmpty)
            try await expect(queue, "small", "reserved", ["workers": "1", "matching": "2"])
        }
    }

    @Test func knowsNoTaskThatIsNotThere() async throws {
        try await TestQueue.run { queue in
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("explain", "task", "nobody") }
        }
    }
}
