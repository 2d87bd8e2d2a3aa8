import NIOCore
import Switchyard
import SwitchyardTesting
import Testing

/// Batches of any size through `SchedulerHandle`.
@Suite struct HandleBatchTests {
    private func tasks(_ count: Int) -> [QueuedTask] {
        (0..<count).map { QueuedTask(BuildRequest(), priority: .normal, id: "t\($0)") }
    }

    /// Waits until the ticks have nothing left to do.
    private func settle(_ queue: TestQueue) async throws {
        for _ in 0..<200 where try await queue.tick(limit: 500).more {}
    }

    @Test func manyTasksAreOneBatchInTheirOrder() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            let added = try await queue.handle.addTasks(tasks(2001), onComplete: QueuedTask(BuildRequest(), id: "then"))
            #expect(added.map(\.task.id) == (0..<2001).map { "t\($0)" })
            #expect(!added.contains { !$0.isNew })
            let batch = try #require(added.first?.task.batch)
            try await settle(queue)
            let status = try await queue.handle.getBatch(batch)
            #expect(status.total == 2001)
            #expect(status.count(.pending) == 2001)
            #expect(try await queue.stats().ready == 2001)
            let worker = try await queue.worker("w", slots: 5)
            #expect(try await worker.pull(max: 5, holding: 0).map(\.task.id) == ["t0", "t1", "t2", "t3", "t4"])

            #expect(try await queue.handle.cancelBatch(batch, reason: "enough").count(.cancelled) >= 25)
            try await settle(queue)
            let ended = try await queue.handle.getBatch(batch)
            #expect(ended.count(.cancelled) == 2001)
            #expect(ended.finishedAt != nil)
            #expect(try await queue.handle.getTask("t2000").failure?.message.contains("enough") == true)
            #expect(try await queue.handle.getTask("then").state == .pending)
        }
    }

    @Test func aRefusedPartTakesTheOthersWithIt() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1500]) { queue in
            try await expectError("QueueFull") {
                _ = try await queue.handle.addTasks(tasks(2000), batch: "b")
            }
            try await expectError("TaskNotFound") { _ = try await queue.handle.getBatch("b") }
            #expect(try await queue.handle.getTasks(["t0", "t999"]) == [nil, nil])
            #expect(try await queue.stats().pending == 0)
            // There is room for as many tasks as before, under the same ids.
            _ = try await queue.handle.addTasks(tasks(1500), batch: "b")
        }
    }

    @Test func aBatchThatWasOpenedIsNotAbandoned() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            _ = try await queue.handle.addTasks(tasks(1001), batch: "b")
            #expect(try await queue.call("abandon_batch", "batch", "b").int == 0)
            try await expectError("TaskExists") { _ = try await queue.handle.addTasks(tasks(1001), batch: "b") }
            try await settle(queue)
            #expect(try await queue.handle.getBatch("b").total == 1001)
        }
    }

    @Test func aCycleAcrossPartsIsNamedAndAnIDGivenTwice() async throws {
        try await TestQueue.run { queue in
            var cyclic = tasks(1500)
            for (from, to) in [(3, 1400), (1400, 700), (700, 3)] { cyclic[from].scheduling.dependsOn = ["t\(to)"] }
            do {
                _ = try await queue.handle.addTasks(cyclic)
                Issue.record("a cycle was taken")
            } catch let error as SchedulerError {
                #expect(error.message == "depends_on: the tasks form the cycle t3 → t1400 → t700 → t3")
            }
            var twice = tasks(1500)
            twice[1400].id = "t1"
            try await expectError("BadRequest") { _ = try await queue.handle.addTasks(twice) }
            #expect(try await queue.stats().pending == 0)
        }
    }

    @Test func aFollowUpTaskWithBytesThatAreNoTextIsRefused() async throws {
        try await TestQueue.run { queue in
            var request = BuildRequest()
            request.payload = ByteBuffer(bytes: [0xFF, 0x00])
            try await expectError("BadRequest") {
                _ = try await queue.handle.addTasks(tasks(1), onComplete: QueuedTask(request))
            }
        }
    }
}
