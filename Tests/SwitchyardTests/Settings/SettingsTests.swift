import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Settings")
struct SettingsTests {
    @Test func everySettingHasItsDocumentedDefaultAndIsChangedForAll() async throws {
        try await TestQueue.run { queue in
            let defaults = try await queue.handle.configure([])
            #expect(defaults["max_queue_length"] == 500)
            #expect(defaults["default_timeout_ms"] == 7_200_000)
            #expect(defaults["default_max_retries"] == 2)
            #expect(defaults["retention_ms"] == 7_200_000)
            #expect(defaults["cleanup_interval_ms"] == 300_000)
            #expect(defaults["lease_ms"] == 15_000)
            #expect(defaults["heartbeat_ms"] == 5_000)
            let changed = try await queue.handle.configure([("default_max_retries", 9), ("default_timeout_ms", 1234)])
            #expect(changed["default_max_retries"] == 9)
            try await queue.call("submit", "task", "t")
            let task = try await queue.handle.getTask("t")
            #expect(task.maxRetries == 9)
            #expect(task.timeout == .milliseconds(1234))
        }
    }

    @Test(arguments: [
        ["max_queue_length", "0"], ["max_queue_length", "-1"], ["max_queue_length", "1.5"], ["max_queue_length", ""],
        ["max_queue_length", "1e3"], ["max_queue_length", "0x10"], ["max_queue_length", " 5"],
        ["lease_ms", "99"], ["heartbeat_ms", "19"], ["heartbeat_ms", "8000"], ["lease_ms", "9000"],
        ["retry_jitter_percent", "101"], ["paused", "2"], ["paused", "yes"], ["no_such_setting", "1"],
        ["max_queue_length", "10", "lease_ms", "1"], ["max_queue_length"], ["task", "t"], ["instance", "1"],
    ])
    func whatIsNoSettingOrOutOfRangeIsRefusedAndChangesNothing(arguments: [String]) async throws {
        try await TestQueue.run { queue in
            let before = try await queue.snapshot()
            try await expectRefusal("BADREQUEST") {
                try await queue.call("configure", arguments.map { .string($0) })
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test func aPausedQueueTakesTasksAndGivesNone() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 2)
            #expect(try await worker.pull(max: 1, holding: 0) == [])
            try await queue.handle.pause()
            let added = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .normal, id: "t"))
            #expect(added.wokeWorker == false)
            #expect(try await queue.tick().woken == 0)
            #expect(try await worker.pull(max: 1, holding: 0) == [])
            let task = try await queue.handle.getTask("t")
            #expect(task.heldBy == .paused)
            #expect(try await queue.stats().isPaused)

            try await queue.handle.resume()
            #expect(try await queue.snapshot().listCount("wake:w") == 1)
            #expect(try await worker.pull(max: 1, holding: 0).map(\.task.id) == ["t"])
        }
    }

    @Test func whatRunsInAPausedQueueMayEnd() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 2)
            for n in 0..<2 { try await queue.submit("t\(n)") }
            _ = try await worker.pull(max: 1, holding: 0)
            try await queue.handle.pause()
            _ = try await worker.heartbeat([("t0", 1, nil)])
            let answer = try await worker.finish(
                [.init(taskID: "t0", attempt: 1, outcome: .completed)], pull: 1, holding: 0)
            #expect(answer.states == [.success(.completed)])
            #expect(answer.assignments == [])
        }
    }
}
