import RedisClient
import SwitchyardTesting
import Testing

@Suite("Cordoned workers")
struct CordonTests {
    private func wakeUps(_ worker: String, _ queue: TestQueue) async throws -> Int64? {
        try await queue.raw("LLEN", "{}wake:" + worker).int
    }

    @Test func getNoWorkUntilTheyAreUncordoned() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 3)
            for id in ["a", "b", "c"] { try await queue.submit(id) }
            #expect(try await queue.take("w") == ["a"])
            try await queue.handle.cordonWorker("w")
            try await queue.handle.cordonWorker("w")
            #expect(try await queue.take("w", max: 3) == [])
            // The attempt goes on, and its end brings no other task, also by the fast path.
            let reply = try await queue.call(
                "finish", "worker", "w", "pull", "1", "start", "1", "task", "a", "attempt", "1", "outcome", "completed")
            #expect(reply.array?.last?.assignments.isEmpty == true)
            try await queue.snapshot()
            let reason = try await queue.reasons("b").first
            #expect(reason?["code"] == "cordoned")
            try await queue.handle.uncordonWorker("w")
            #expect(try await wakeUps("w", queue) == 1)
            #expect(try await queue.take("w", max: 3) == ["b", "c"])
            try await queue.handle.uncordonWorker("w")
        }
    }

    /// A restart with the same nonce (a reconnect), with another one, and after the worker has left.
    @Test(arguments: ["same", "other", "left"])
    func staySoAfterARestart(how: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", ["nonce": "one", "labels": "gpu"])
            try await queue.handle.cordonWorker("w")
            if how == "left" { try await queue.call("deregister", "worker", "w", "nonce", "one") }
            for _ in 0..<3 {
                try await queue.register("w", ["nonce": how == "same" ? "one" : "two", "labels": "gpu"])
            }
            try await queue.submit("t", ["requires": "gpu"])
            #expect(try await queue.take("w") == [])
            #expect(try await queue.handle.getWorkers().first?.activity == .cordoned)
            try await queue.snapshot()
            try await queue.handle.uncordonWorker("w")
            #expect(try await queue.take("w") == ["t"])
        }
    }

    @Test func doNotSwallowWakeUps() async throws {
        try await TestQueue.run { queue in
            // `a` sleeps longest, so it would be woken first.
            for worker in ["a", "b"] {
                try await queue.register(worker)
                #expect(try await queue.take(worker) == [])
            }
            try await queue.handle.cordonWorker("a")
            #expect(try await queue.handle.getStats().idleWorkers == 1)
            try await queue.submit("t")
            #expect(try await wakeUps("a", queue) == 0)
            #expect(try await wakeUps("b", queue) == 1)
        }
        // A worker that was woken already, and is cordoned before it pulls.
        try await TestQueue.run { queue in
            for worker in ["a", "b"] {
                try await queue.register(worker)
                #expect(try await queue.take(worker) == [])
            }
            try await queue.submit("t")
            #expect(try await wakeUps("a", queue) == 1)
            try await queue.handle.cordonWorker("a")
            #expect(try await queue.raw("LPOP", "{}wake:a").string == "1")
            #expect(try await queue.take("a") == [])
            #expect(try await wakeUps("b", queue) == 1)
            try await queue.snapshot()
        }
    }

    @Test func drainOnTopOfIt() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", ["nonce": "one"])
            try await queue.handle.cordonWorker("w")
            // The process is not told to end: it waits for the end of the cordon.
            #expect(try await queue.call("heartbeat", "worker", "w").pairs["drain"]?.string == "0")
            try await queue.handle.drainWorker("w")
            #expect(try await queue.call("heartbeat", "worker", "w").pairs["drain"]?.string == "1")
            try await queue.snapshot()
            try await queue.handle.uncordonWorker("w")
            #expect(try await queue.call("heartbeat", "worker", "w").pairs["drain"]?.string == "1")
            #expect(try await queue.handle.getWorkers().first?.activity == .draining)
        }
    }

    @Test func mustBeKnown() async throws {
        try await TestQueue.run { queue in
            try await expectError("WorkerNotFound") { try await queue.handle.cordonWorker("typo") }
            try await expectError("WorkerNotFound") { try await queue.handle.uncordonWorker("typo") }
            try await queue.register("w")
            try await queue.handle.cordonWorker("w")
            try await queue.call("deregister", "worker", "w")
            #expect(try await queue.handle.getStats().cordonedWorkers == 1)
            try await queue.handle.uncordonWorker("w")
            #expect(try await queue.handle.getStats().cordonedWorkers == 0)
        }
    }
}
