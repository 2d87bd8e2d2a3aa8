import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Retention")
struct RetentionTests {
    @Test func afterItsRetentionEverythingOfATaskIsDeleted() async throws {
        try await TestQueue.run(settings: ["retention_ms": 100_000]) { queue in
            let worker = try await queue.worker("w", slots: 10)
            try await queue.call("submit", "batch", "b", "task", "a", "task", "c")
            for assignment in try await worker.pull(max: 2, holding: 0) {
                try await worker.log(
                    taskID: assignment.task.id, attempt: 1, [("stdout", ByteBuffer(string: "output"))])
                try await queue.finish("w", assignment.task.id, attempt: 1, "completed", ["result": "r"])
            }
            try await queue.submit("stays")
            #expect(try await queue.snapshot().ids("log:") == ["a", "c"])

            try await queue.age(by: .milliseconds(90_000))
            #expect(try await queue.tick(cleanup: true).purged == 0)
            try await queue.age(by: .milliseconds(60_000))
            // The retention is over, but only ticks with a clean-up delete.
            #expect(try await queue.tick().purged == 0)
            #expect(try await queue.snapshot().taskIDs == ["a", "c", "stays"])
            #expect(try await queue.tick(cleanup: true).purged == 2)
            let after = try await queue.snapshot()
            #expect(after.taskIDs == ["stays"])
            for kind in ["log:", "batch:"] { #expect(after.ids(kind) == []) }
            #expect(after.sortedSet("finished") == [:])
            try await expectError("TaskNotFound") { _ = try await queue.handle.getTask("a") }
            // Deleted tasks still count as completed.
            #expect(try await queue.stats().completed == 2)
        }
    }

    /// A task that keeps its unique key is examined, and stays.
    @Test func onlyDeletedTasksCountAsPurged() async throws {
        try await TestQueue.run(settings: ["retention_ms": 1000]) { queue in
            try await queue.register("w", slots: 5)
            for n in 0..<5 {
                let unique = n % 2 == 0 ? ["unique_key": "u\(n)", "unique_for_ms": "600000"] : [:]
                try await queue.submit("t\(n)", unique)
            }
            for task in try await queue.pull("w", max: 5, start: true) {
                try await queue.finish("w", task.id, attempt: 1, "completed")
            }
            try await queue.age(by: .seconds(60))
            #expect(try await queue.tick(cleanup: true).purged == 2)
            #expect(try await queue.snapshot().taskIDs == ["t0", "t2", "t4"])
            #expect(try await queue.tick(cleanup: true).purged == 0)
        }
    }

    @Test func aLongListIsDeletedPieceByPieceUntilNothingIsDue() async throws {
        try await TestQueue.run(settings: ["retention_ms": 0]) { queue in
            for n in 0..<25 {
                try await queue.submit("t\(n)")
                try await queue.handle.cancelTask("t\(n)")
            }
            try await queue.age(by: .seconds(1))
            var purged: [Int] = []
            while true {
                let tick = try await queue.tick(limit: 10, cleanup: true)
                try await queue.snapshot()
                purged.append(tick.purged)
                if !tick.more { break }
            }
            #expect(purged == [10, 10, 5])
            #expect(try await queue.snapshot().taskIDs == [])
        }
    }

    @Test func aTaskRetriedByAPersonIsKept() async throws {
        try await TestQueue.run(settings: ["retention_ms": 0]) { queue in
            try await queue.submit("t")
            try await queue.handle.cancelTask("t")
            try await queue.handle.retryTask("t")
            try await queue.age(by: .seconds(10))
            #expect(try await queue.tick(cleanup: true).purged == 0)
            #expect(try await queue.handle.getTask("t").state == .pending)
        }
    }

    @Test func whatAPurgedTaskLeavesGoesByItselfAndNotTheNewTaskOfItsId() async throws {
        try await TestQueue.run { queue in
            for id in ["again", "gone"] {
                try await queue.put(id, in: .completed)
                try await queue.handle.purgeTask(id)
            }
            try await queue.submit("again")
            let before = try await queue.snapshot()
            #expect(before.taskIDs == ["again"])
            #expect(before.tombstones == ["gone"])
            try await queue.age(by: .seconds(61))
            let after = try await queue.snapshot()
            #expect(after.taskIDs == ["again"])
            #expect(after.tombstones == [])
            #expect(try await queue.pull(TestQueue.holder).map(\.attempt) == [2])
        }
    }

    @Test func purgingDeletesTheLogToo() async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: .running)
            let worker = try queue.stranger(TestQueue.holder)
            try await worker.log(taskID: "t", attempt: 1, [("stderr", ByteBuffer(string: "x"))])
            try await queue.finish(TestQueue.holder, "t", attempt: 1, "completed")
            try await queue.handle.purgeTask("t")
            let after = try await queue.snapshot()
            #expect(after.taskIDs == [])
            #expect(after.ids("log:") == [])
        }
    }
}
