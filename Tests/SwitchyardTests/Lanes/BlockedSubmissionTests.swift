import Switchyard
import SwitchyardTesting
import Testing

/// What a submission says about tasks that a limit blocks.
@Suite struct BlockedSubmissionTests {
    private func words(_ queue: TestQueue, _ tasks: [(String, [String: String])]) async throws -> [String] {
        var arguments: [String] = []
        for (id, options) in tasks {
            arguments += ["task", id] + options.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
        }
        let reply = try await queue.call("submit", arguments.map { .string($0) })
        return (reply.array ?? []).map { $0.array?[2].string ?? "" }
    }

    /// Submits `count` tasks. Returns Redis's error, or "accepted".
    private func refusal(_ count: Int, _ queue: TestQueue) async -> String {
        do {
            try await queue.submit((0..<count).map { ("of-\(count)-\($0)", [:]) })
            return "accepted"
        } catch {
            return "\(error)"
        }
    }

    private func sleepers(_ count: Int, _ queue: TestQueue) async throws {
        for n in 0..<count {
            try await queue.register("w\(n)")
            #expect(try await queue.take("w\(n)") == [])
        }
    }

    @Test func inABatchTheBlockedOnesAreQueued() async throws {
        try await TestQueue.run { queue in
            try await sleepers(4, queue)
            let limited = ["concurrency_key": "k", "concurrency_limit": "1"]
            #expect(
                try await words(queue, [("a", limited), ("b", limited), ("c", [:]), ("d", limited), ("e", [:])])
                    == ["woken", "queued", "woken", "queued", "woken"])
        }
    }

    @Test(arguments: [1, 2, 3]) func oneAfterTheOther(limit: Int) async throws {
        try await TestQueue.run { queue in
            try await sleepers(5, queue)
            let limited = ["concurrency_key": "k", "concurrency_limit": "\(limit)"]
            // No worker has pulled yet, so none of them runs.
            var said: [String] = []
            for n in 0..<5 { said += try await words(queue, [("t\(n)", limited)]) }
            #expect(said == (0..<5).map { $0 < limit ? "woken" : "queued" })
        }
    }

    /// Batches that are submitted in one call, and in several parts of which the first would fit.
    @Test(arguments: [(700, 500), (1500, 500), (1500, 1200), (6000, 5500)])
    func aBatchThatCanNeverFitSaysSoWhateverItsParts(count: Int, limit: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": limit]) { queue in
            try await queue.submit("before")
            var refusal: SchedulerError?
            do {
                _ = try await queue.handle.addTasks((0..<count).map { _ in QueuedTask(BuildRequest()) }, batch: "b")
            } catch let error as SchedulerError { refusal = error }
            #expect(refusal?.canNeverFit == true)
            #expect(refusal?.message.contains("the \(count) tasks") == true, "\(refusal?.message ?? "accepted")")
            // One that has no room now, and may have later.
            refusal = nil
            do {
                _ = try await queue.handle.addTasks((0..<limit).map { _ in QueuedTask(BuildRequest()) }, batch: "b")
            } catch let error as SchedulerError { refusal = error }
            #expect(refusal?.code == "QueueFull")
            #expect(refusal?.canNeverFit == false)
            let isGone = try await eventually { try await queue.snapshot().taskIDs == ["before"] }
            #expect(isGone)
        }
    }

    @Test func aSubmissionThatCanNeverFitSaysSo() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5]) { queue in
            #expect(await refusal(6, queue).contains("can never hold the 6 tasks"))
            #expect(await refusal(5, queue) == "accepted")
            #expect(await refusal(1, queue).contains("with 1 more it would exceed its limit of 5"))
        }
    }
}
