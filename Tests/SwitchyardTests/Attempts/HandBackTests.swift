import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A worker returns attempts that its host cannot run: no retry is used up, and the returns are bounded.
@Suite struct HandBackTests {
    private func handBack(_ worker: String, _ id: String, _ attempt: Int, _ queue: TestQueue) async throws -> String? {
        let reply = try await queue.call(
            "release", "worker", .string(worker), "reason", "pipe: Too many open files", "task", .string(id),
            "attempt", .integer(Int64(attempt)))
        return reply.array?.first?.error?.code ?? reply.array?.first?.string
    }

    @Test(arguments: [0, 2], [true, false])
    func aReturnUsesUpNoRetryAndWaits(retries: Int, isStarted: Bool) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            _ = try await queue.worker("w")
            try await queue.submit("t", maxRetries: retries)
            try await queue.pull("w", start: isStarted)
            #expect(try await handBack("w", "t", 1, queue) == "pending")
            let task = try await queue.handle.getTask("t")
            #expect(task.state == .pending)
            #expect(task.retryCount == 0)
            #expect(task.attempts.map(\.outcome) == ["returned"])
            #expect(task.attempts.first?.failure?.message == "pipe: Too many open files")
            // It leaves the task to other workers for a moment, whatever the backoff is.
            #expect(try await queue.pull("w").isEmpty)
            try await queue.age(by: .milliseconds(1001))
            try await queue.tick()
            #expect(try await queue.pull("w", start: true).map(\.attempt) == [2])
            #expect(try await queue.finish("w", "t", attempt: 2, "completed").string == "completed")
        }
    }

    @Test(arguments: [1, 2, 5])
    func theReturnsAreBoundedAsDeliveriesAre(most: Int) async throws {
        try await TestQueue.run(settings: ["max_deliveries": most]) { queue in
            for name in ["a", "b"] { _ = try await queue.worker(name) }
            try await queue.submit("t", maxRetries: 9)
            for attempt in 1...most {
                try await queue.age(by: .seconds(400))
                for name in ["a", "b"] { try await queue.call("heartbeat", "worker", .string(name)) }
                try await queue.tick()
                let worker = attempt.isMultiple(of: 2) ? "a" : "b"
                #expect(try await queue.pull(worker, start: true).map(\.attempt) == [attempt])
                #expect(try await handBack(worker, "t", attempt, queue) == (attempt == most ? "failed" : "pending"))
            }
            let task = try await queue.handle.getTask("t")
            #expect(task.failure?.code == "CannotStart")
            #expect(task.failure?.message.contains("\(most) times") == true)
            #expect(task.failure?.message.contains("Too many open files") == true)
        }
    }

    @Test func onlyTheHolderOfTheLatestAttemptReturnsIt() async throws {
        try await TestQueue.run { queue in
            for name in ["w", "other"] { _ = try await queue.worker(name) }
            try await queue.submit("t")
            try await queue.pull("w", start: true)
            let before = try await queue.snapshot()
            #expect(try await handBack("other", "t", 1, queue) == "LEASELOST")
            #expect(try await handBack("w", "t", 2, queue) == "LEASELOST")
            #expect(try await handBack("w", "nobody", 1, queue) == "TASKNOTFOUND")
            let plain = try await queue.call("release", "worker", "w", "task", "t", "attempt", "1")
            #expect(plain.array?.first?.error?.code == "INVALIDSTATE")
            for reason in ["", String(repeating: "x", count: 4097)] {
                try await expectRefusal("BADREQUEST") {
                    try await queue.call(
                        "release", "worker", "w", "reason", .string(reason), "task", "t", "attempt", "1")
                }
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
            #expect(try await handBack("w", "t", 1, queue) == "pending")
            #expect(try await handBack("w", "t", 1, queue) == "LEASELOST")
        }
    }

    @Test func aReturnFreesTheLimitsOfTheTask() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w", slots: 2)
            let limit = ["concurrency_key": "k", "concurrency_limit": "1"]
            try await queue.submit("a", limit)
            try await queue.submit("b", limit)
            #expect(try await queue.pull("w", max: 2, start: true).map(\.id) == ["a"])
            #expect(try await handBack("w", "a", 1, queue) == "pending")
            #expect(try await queue.pull("w", max: 2, start: true).map(\.id) == ["b"])
        }
    }
}
