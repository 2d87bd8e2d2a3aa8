import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Retries")
struct RetryTests {
    /// Fails the task's attempts one after the other. Returns the backoff after each, in milliseconds.
    private func delays(of id: String, _ queue: TestQueue, failures: Int) async throws -> [Int] {
        var delays: [Int] = []
        for attempt in 1...failures {
            try await queue.pull("w", start: true)
            #expect(try await queue.finish("w", id, attempt: attempt, "failed").string == "pending")
            let before = try await queue.tick().now
            let fields = try await queue.snapshot().task(id)
            let due = try #require(fields["due_at"].flatMap(Int.init))
            delays.append(due - before)
            try await queue.age(by: .milliseconds(due - before + 1))
            try await queue.call("heartbeat", "worker", "w")
            try await queue.tick()
            #expect(try await queue.snapshot().task(id)["held_by"] == nil)
        }
        return delays
    }

    @Test func theBackoffDoublesUpToItsBoundWithinItsJitter() async throws {
        let settings = ["retry_delay_ms": 10_000, "retry_delay_max_ms": 60_000, "retry_jitter_percent": 20]
        try await TestQueue.run(settings: settings) { queue in
            _ = try await queue.worker("w", slots: 10)
            for n in 0..<8 {
                try await queue.submit("t\(n)", maxRetries: 5)
                let found = try await delays(of: "t\(n)", queue, failures: 5)
                for (delay, expected) in zip(found, [10_000, 20_000, 40_000, 60_000, 60_000]) {
                    // Allows 300 ms for the calls in between.
                    #expect((expected * 8 / 10 - 300...expected * 12 / 10).contains(delay), "retry after \(delay) ms")
                }
                try await queue.handle.cancelTask("t\(n)")
            }
        }
    }

    @Test func theJitterSpreadsTasksThatFailTogether() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 100_000, "retry_delay_max_ms": 100_000]) { queue in
            _ = try await queue.worker("w", slots: 40)
            for n in 0..<40 { try await queue.submit("t\(n)") }
            for task in try await queue.pull("w", max: 40, start: true) {
                try await queue.finish("w", task.id, attempt: 1, "failed")
            }
            let due = try await queue.snapshot().sortedSet("held").values
            #expect(Set(due).count > 20)
            #expect((due.max() ?? 0) - (due.min() ?? 0) > 5_000)
        }
    }

    @Test func withoutJitterTheBackoffIsExact() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 7_000, "retry_jitter_percent": 0]) { queue in
            _ = try await queue.worker("w")
            try await queue.submit("t")
            try await queue.pull("w", start: true)
            let before = try await queue.tick().now
            try await queue.finish("w", "t", attempt: 1, "failed")
            let due = try #require(try await queue.snapshot().sortedSet("held")["t"])
            #expect((0...300).contains(Int(due) - before - 7_000))
        }
    }

    @Test func aBackoffOfNothingPutsTheTaskStraightBackInLine() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            _ = try await queue.worker("w")
            try await queue.submit("t", maxRetries: 2)
            for attempt in 1...2 {
                #expect(try await queue.pull("w", start: true).first?.attempt == attempt)
                #expect(try await queue.finish("w", "t", attempt: attempt, "failed").string == "pending")
                #expect(try await queue.handle.getTask("t").position == 0)
            }
            try await queue.pull("w", start: true)
            #expect(try await queue.finish("w", "t", attempt: 3, "failed").string == "failed")
            let task = try await queue.handle.getTask("t")
            #expect(task.retryCount == 2)
            #expect(task.attempts.map(\.outcome) == ["failed", "failed", "failed"])
            #expect(try await queue.stats().retries == 2)
        }
    }

    @Test func anAttemptThatSaysSoIsNotRetried() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w")
            try await queue.submit("t", maxRetries: 5)
            _ = try await worker.pull(max: 1, holding: 0)
            var report = WorkerClient.Report(taskID: "t", attempt: 1, outcome: .failed)
            report.isRetryable = false
            report.failure = TaskFailure(code: "CompileError", message: "no such header")
            report.exitCode = 3
            let answer = try await worker.finish([report], pull: 0, holding: 0)
            #expect(answer.states == [.success(.failed)])
            let task = try await queue.handle.getTask("t")
            #expect(task.failure == report.failure)
            #expect(task.exitCode == 3)
            #expect(task.retryCount == 0)
        }
    }

    @Test func everyAttemptTellsItsWorkerItsTimesAndItsError() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            for worker in ["w1", "w2", "w3"] { _ = try await queue.worker(worker) }
            try await queue.submit("t", maxRetries: 2)
            try await queue.pull("w1", start: true)
            try await queue.finish(
                "w1", "t", attempt: 1, "failed",
                ["error_code": "E1", "error_message": "first \"line\"\n\u{1}second", "exit_code": "-1"])
            try await queue.pull("w2", start: true)
            try await queue.missHeartbeats(of: "w2")
            try await queue.tick()
            try await queue.pull("w3", start: true)
            try await queue.finish("w3", "t", attempt: 3, "completed", ["exit_code": "0"])

            let attempts = try await queue.handle.getTask("t").attempts
            #expect(attempts.map(\.attempt) == [1, 2, 3])
            #expect(attempts.map(\.worker) == ["w1", "w2", "w3"])
            #expect(attempts.map(\.outcome) == ["failed", "lost", "completed"])
            #expect(attempts.map(\.exitCode) == [-1, nil, 0])
            #expect(attempts[0].failure == TaskFailure(code: "E1", message: "first \"line\"\n\u{1}second"))
            #expect(attempts[1].failure?.code == "WorkerNotFound")
            for attempt in attempts {
                let started = try #require(attempt.startedAt)
                let finished = try #require(attempt.finishedAt)
                #expect(try #require(attempt.assignedAt) <= started)
                #expect(started <= finished)
            }
        }
    }
}
