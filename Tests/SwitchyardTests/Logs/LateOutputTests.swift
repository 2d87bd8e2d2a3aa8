import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// The output of an attempt that is ending is accepted for a while after its end, and that of an older attempt never.
@Suite struct LateOutputTests {
    enum End: String, CaseIterable { case cancelled, timeLimit, timeLimitAndRetry, failed, completed, retriedByHand }

    private let output = [(stream: "stderr", data: ByteBuffer(string: "dump"))]

    /// Runs attempt 1 of "t" on "w" and ends it.
    private func end(_ end: End, _ queue: TestQueue) async throws -> WorkerClient {
        let worker = try await queue.worker("w", slots: 2)
        try await queue.submit("t", maxRetries: end == .timeLimitAndRetry ? 1 : 0, ["timeout_ms": "60000"])
        _ = try await worker.pull(max: 1, holding: 0)
        switch end {
        case .cancelled: try await queue.call("cancel", "task", "t")
        case .timeLimit, .timeLimitAndRetry:
            // The queue ends the attempt at its deadline, before its worker reports it.
            try await queue.age(by: .seconds(61))
            try await queue.raw("ZADD", "{}workers", "99999999999999", "w")
            try await queue.tick()
        case .failed, .retriedByHand: try await queue.finish("w", "t", attempt: 1, "failed")
        case .completed: try await queue.finish("w", "t", attempt: 1, "completed")
        }
        if end == .retriedByHand { try await queue.call("retry", "task", "t") }
        return worker
    }

    @Test(arguments: End.allCases)
    func isKeptForTheGraceAndALease(how: End) async throws {
        try await TestQueue.run(settings: ["lease_ms": 5000, "heartbeat_ms": 1000, "retry_delay_ms": 100_000]) {
            queue in
            let worker = try await end(how, queue)
            try await worker.log(taskID: "t", attempt: 1, grace: .seconds(20), output)
            #expect(try await queue.handle.readLog("t").map(\.data) == output.map(\.data))
            try await queue.age(by: .seconds(24))
            if how == .timeLimitAndRetry || how == .retriedByHand {
                // Aging leaves the record of the attempt as it is.
                return
            }
            try await worker.log(taskID: "t", attempt: 1, grace: .seconds(20), output)
            try await queue.age(by: .seconds(2))
            let before = try await queue.snapshot()
            try await expectRefusal("LEASELOST") {
                try await queue.call(
                    "log", "worker", "w", "grace_ms", "20000", "task", "t", "attempt", "1", "stdout", "x")
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test(arguments: End.allCases)
    func isRefusedFromAnotherWorkerOrAttempt(how: End) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 100_000]) { queue in
            _ = try await end(how, queue)
            _ = try await queue.worker("other")
            let before = try await queue.snapshot()
            for (worker, attempt) in [("other", 1), ("w", 2), ("nobody", 1)] {
                try await expectRefusal("LEASELOST") {
                    try await queue.call(
                        "log", "worker", .string(worker), "task", "t", "attempt", .integer(Int64(attempt)), "stdout",
                        "x")
                }
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test(arguments: ["w", "other"], ["running", "ended"])
    func isRefusedOnceALaterAttemptHasBegun(later: String, state: String) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            let first = try await queue.worker("w", slots: 2)
            let second = later == "w" ? first : try await queue.worker(later)
            try await queue.submit("t", maxRetries: 1)
            _ = try await first.pull(max: 1, holding: 0)
            try await queue.finish("w", "t", attempt: 1, "failed")
            try await first.log(taskID: "t", attempt: 1, output)
            #expect(try await second.pull(max: 1, holding: 0).map(\.attempt) == [2])
            if state == "ended" { try await queue.finish(later, "t", attempt: 2, "failed") }
            try await expectError("InvalidStateTransition") {
                try await first.log(taskID: "t", attempt: 1, output)
            }
            try await second.log(taskID: "t", attempt: 2, output)
            #expect(try await queue.handle.readLog("t").map(\.attempt) == [1, 2])
        }
    }
}
