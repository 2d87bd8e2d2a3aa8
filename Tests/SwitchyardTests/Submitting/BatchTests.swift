import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Batches")
struct BatchTests {
    @Test func aBatchCountsItsTasksAndKnowsWhenTheLastOneEnded() async throws {
        try await TestQueue.run { queue in
            try await queue.call(
                "submit", "batch", "b", "task", "a", "task", "c", "task", "d", "max_retries", "0", "task", "e",
                "delay_ms", "60000")
            var batch = try await queue.handle.getBatch("b")
            #expect(batch.total == 4)
            #expect(batch.count(.pending) == 4)
            #expect(batch.finishedAt == nil)

            _ = try await queue.worker("w", slots: 3)
            try await queue.pull("w", max: 3, start: true)
            batch = try await queue.handle.getBatch("b")
            #expect(batch.count(.running) == 3)
            try await queue.finish("w", "a", attempt: 1, "completed")
            try await queue.finish("w", "c", attempt: 1, "failed", ["retryable": "0"])
            try await queue.finish("w", "d", attempt: 1, "timeout")
            try await queue.snapshot()
            let events = try await queue.redis.client.subscribe(to: [queue.keys.events])
            try await queue.handle.cancelTask("e")
            batch = try await queue.handle.getBatch("b")
            #expect(TaskState.allCases.map(batch.count) == [0, 0, 0, 1, 1, 1, 1])
            #expect(batch.finishedAt != nil)
            #expect(try await events.firstMessage() == "batch:b finished 4")
        }
    }

    @Test func aBatchIsOpenAgainWhenAPersonRetriesOneOfItsTasks() async throws {
        try await TestQueue.run { queue in
            try await queue.call("submit", "batch", "b", "task", "a")
            try await queue.handle.cancelTask("a")
            #expect(try await queue.handle.getBatch("b").finishedAt != nil)
            try await queue.handle.retryTask("a")
            #expect(try await queue.handle.getBatch("b").finishedAt == nil)
        }
    }

    @Test func aBatchGoesWithTheLastOfItsTasks() async throws {
        try await TestQueue.run { queue in
            try await queue.call("submit", "batch", "b", "task", "a", "task", "c")
            for id in ["a", "c"] { try await queue.handle.cancelTask(id) }
            try await queue.handle.purgeTask("a")
            #expect(try await queue.snapshot().hash("batch:b")["purged"] == "1")
            #expect(try await queue.handle.getBatch("b").count(.cancelled) == 2)
            try await queue.handle.purgeTask("c")
            try await expectError("TaskNotFound") { _ = try await queue.handle.getBatch("b") }
        }
    }
}
