import SwitchyardTesting
import Testing

/// A task that cannot start because of its limit counts as blocked by it from that moment, before any worker has
/// pulled.
@Suite("Lanes whose gate is closed")
struct ClosedGateTests {
    @Test func theTaskThatTakesTheLastTurnClosesTheLaneForTheNext() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            let options = ["concurrency_key": "k", "concurrency_limit": "1"]
            try await queue.submit([("runs", options), ("waits", options)])
            #expect(try await queue.take("w") == ["runs"])
            #expect(try await queue.fields(of: "waits")["held_by"] == "concurrency_limit")
            #expect(try await queue.number("blocked") == 1)
            #expect(try await queue.number("pending") == 0)
        }
    }

    @Test func aTaskThatComesWhileTheLimitIsReachedIsHeldAtOnce() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            let options = ["concurrency_key": "k", "concurrency_limit": "1"]
            try await queue.submit([("runs", options)])
            #expect(try await queue.take("w") == ["runs"])
            try await queue.submit([("waits", options)])
            #expect(try await queue.fields(of: "waits")["held_by"] == "concurrency_limit")
            #expect(try await queue.number("blocked") == 1)
            try await queue.end("runs")
            #expect(try await queue.fields(of: "waits")["held_by"] == nil)
            #expect(try await queue.number("pending") == 1)
        }
    }
}
