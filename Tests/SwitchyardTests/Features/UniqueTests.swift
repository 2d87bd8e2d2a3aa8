import SwitchyardTesting
import Testing

@Suite("Unique tasks")
struct UniqueTests {
    @Test func anEqualTaskInFlightIsAnsweredInsteadOfMakingAnother() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 3)
            let key = ["unique_key": "build-main"]
            #expect(try await queue.submit([("a", key), ("b", key), ("c", [:])]) == ["a", "a", "c"])
            #expect(try await queue.submit([("d", key)]) == ["a"])
            #expect(try await queue.take("w", max: 3) == ["a", "c"])
            #expect(try await queue.submit([("e", key)]) == ["a"])
            try await queue.end("a")
            #expect(try await queue.submit([("f", key)]) == ["f"])
        }
    }

    @Test(arguments: Ending.allCases)
    func theKeyIsHeldWhileTheTaskGoesOnAndFreeOnceItHasEnded(ending: Ending) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            try await queue.register("w")
            try await queue.submit("a", ["unique_key": "k"])
            try await queue.pull("w", start: ending != .released)
            try await ending.happen(to: "a", of: "w", in: queue)
            let hasEnded = [.completed, .failed, .cancelled].contains(ending)
            #expect(try await queue.submit([("b", ["unique_key": "k"])]) == [hasEnded ? "b" : "a"])
        }
    }

    @Test func aResultIsReusedForATimeAfterSuccessAndAFailureIsNot() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            let key = ["unique_key": "k", "unique_for_ms": "60000"]
            try await queue.submit("a", maxRetries: 0, key)
            try await queue.take("w")
            try await queue.end("a", "failed")
            #expect(try await queue.submit([("b", key)]) == ["b"])
            try await queue.take("w")
            try await queue.end("b", "completed", ["result": "42"])
            #expect(try await queue.submit([("c", key)]) == ["b"])
            try await queue.age(by: .seconds(61))
            #expect(try await queue.submit([("d", key)]) == ["d"])
        }
    }

    @Test func aTaskThatIsRetriedTakesItsKeyAgainIfItIsFree() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await queue.submit("a", maxRetries: 0, ["unique_key": "k"])
            try await queue.take("w")
            try await queue.end("a", "failed")
            try await queue.call("retry", "task", "a")
            #expect(try await queue.submit([("b", ["unique_key": "k"])]) == ["a"])
        }
    }

    @Test func aFullQueueStillAnswersWithTheEqualTask() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1]) { queue in
            try await queue.submit("a", ["unique_key": "k"])
            #expect(try await queue.submit([("b", ["unique_key": "k"])]) == ["a"])
            try await expectRefusal("QUEUEFULL") { try await queue.submit("c") }
        }
    }
}
