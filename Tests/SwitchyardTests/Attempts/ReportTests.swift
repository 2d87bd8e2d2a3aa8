import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Reports")
struct ReportTests {
    @Test func aRepeatedReportIsAnsweredLikeTheFirstAndChangesNothing() async throws {
        for (outcome, options, retries) in [
            ("completed", ["result": "r"], 0), ("failed", [:], 0), ("failed", [:], 2), ("timeout", [:], 0),
            ("timeout", [:], 1), ("failed", ["retryable": "0"], 3),
        ] {
            try await TestQueue.run { queue in
                _ = try await queue.worker("w")
                try await queue.submit("t", maxRetries: retries)
                try await queue.pull("w", start: true)
                let first = try await queue.finish("w", "t", attempt: 1, outcome, options)
                #expect(first.error == nil)
                let before = try await queue.snapshot()
                for _ in 0..<3 {
                    #expect(try await queue.finish("w", "t", attempt: 1, outcome, options) == first)
                }
                #expect(try await queue.snapshot().changes(since: before) == [])
            }
        }
    }

    @Test func aReportIsStillAnsweredTheSameAfterTheTaskWentOn() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            _ = try await queue.worker("w1")
            _ = try await queue.worker("w2")
            try await queue.submit("t")
            try await queue.pull("w1", start: true)
            #expect(try await queue.finish("w1", "t", attempt: 1, "failed").string == "pending")
            try await queue.pull("w2", start: true)
            let before = try await queue.snapshot()
            #expect(try await queue.finish("w1", "t", attempt: 1, "failed").string == "pending")
            #expect(try await queue.finish("w1", "t", attempt: 1, "completed").error?.code == "LEASELOST")
            // The same report from another worker is no repetition.
            #expect(try await queue.finish("w2", "t", attempt: 1, "failed").error?.code == "LEASELOST")
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test func theLateReportOfALostAttemptIsRefusedAndChangesNothing() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            _ = try await queue.worker("w1")
            let second = try await queue.worker("w2")
            try await queue.submit("t")
            try await queue.pull("w1", start: true)
            try await queue.missHeartbeats(of: "w1")
            try await queue.tick()
            #expect(try await second.pull(max: 1, holding: 0).first?.attempt == 2)
            let before = try await queue.snapshot()
            for outcome in ["completed", "failed", "timeout"] {
                let answer = try await queue.finish("w1", "t", attempt: 1, outcome, ["result": "late"])
                #expect(answer.error?.code == "LEASELOST")
                #expect(answer.error?.message.contains("its latest attempt is 2 on worker w2") == true)
            }
            try await expectRefusal("WORKERNOTFOUND") {
                try await queue.call("heartbeat", "worker", "w1", "task", "t", "attempt", "1")
            }
            try await expectRefusal("LEASELOST") {
                try await queue.call("log", "worker", "w1", "task", "t", "attempt", "1", "stdout", "late")
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
            #expect(try await queue.finish("w2", "t", attempt: 2, "completed").string == "completed")
        }
    }

    @Test func oneCallReportsManyAndEachIsAnsweredForItself() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 5)
            for id in ["a", "b", "c", "d"] { try await queue.submit(id) }
            _ = try await worker.pull(max: 3, holding: 0)
            var failed = WorkerClient.Report(taskID: "b", attempt: 1, outcome: .failed)
            failed.isRetryable = false
            let answer = try await worker.finish(
                [
                    .init(taskID: "a", attempt: 1, outcome: .completed), failed,
                    .init(taskID: "c", attempt: 9, outcome: .completed),
                    .init(taskID: "nobody", attempt: 1, outcome: .completed),
                    .init(taskID: "d", attempt: 1, outcome: .completed),
                ], pull: 3, holding: 1)
            #expect(answer.states.count == 5)
            #expect(answer.states[0] == .success(.completed))
            #expect(answer.states[1] == .success(.failed))
            let refusals = answer.states.dropFirst(2).map { state -> String in
                if case .failure(let error) = state { return error.code }
                return "none"
            }
            #expect(refusals == ["InvalidStateTransition", "TaskNotFound", "InvalidStateTransition"])
            // The same call pulled the next task.
            #expect(answer.assignments.map(\.task.id) == ["d"])
            let after = try await queue.snapshot()
            #expect(after.state("c") == .running)
            #expect(after.state("d") == .running)
        }
    }

    @Test func aReportPullsNoMoreThanItsSlotsAllow() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 2)
            for n in 0..<6 { try await queue.submit("t\(n)") }
            #expect(try await worker.pull(max: 5, holding: 0).count == 2)
            #expect(try await worker.pull(max: 5, holding: 2).count == 0)
            let answer = try await worker.finish(
                [.init(taskID: "t0", attempt: 1, outcome: .completed)], pull: 5, holding: 1)
            #expect(answer.assignments.map(\.task.id) == ["t2"])
        }
    }

    @Test func resultAndErrorAreOpaqueBytes() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w")
            let bytes = ByteBuffer(bytes: [0, 255, 254, 10, 13, 34, 92, 0xC3, 0x28])
            try await queue.submit("t", maxRetries: 1)
            try await queue.pull("w", start: true)
            let report: [RedisArgument] = ["worker", "w", "task", "t", "attempt", "1", "outcome", "failed"]
            try await queue.call("finish", report + ["error_message", .buffer(bytes), "result", .buffer(bytes)])
            // Attempt records are for people: bytes that are no UTF-8 are replaced in the text.
            let attempts = try await queue.handle.getTask("t").attempts
            #expect(attempts.count == 1)
            #expect(attempts[0].outcome == "failed")
            try await queue.age(by: .seconds(3))
            try await queue.tick()
            try await queue.pull("w", start: true)
            let last: [RedisArgument] = ["worker", "w", "task", "t", "attempt", "2", "outcome", "failed"]
            try await queue.call("finish", last + ["error_message", .buffer(bytes), "result", .buffer(bytes)])
            #expect(try await queue.handle.getTask("t").result == bytes)
            #expect(try await queue.raw("HGET", "{}task:t", "error_message").bytes == bytes)
        }
    }

    @Test func aStrangersReportIsRefusedAndSoIsItsPull() async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: .running)
            let reply = try await queue.call(
                "finish", "worker", "nobody", "pull", "1", "task", "t", "attempt", "1", "outcome", "completed")
            #expect(reply[0]?[0]?.error?.code == "LEASELOST")
            #expect(reply[1]?.error?.code == "WORKERNOTFOUND")
        }
    }
}
