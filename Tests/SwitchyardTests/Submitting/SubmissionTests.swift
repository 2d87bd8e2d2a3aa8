import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Submitting")
struct SubmissionTests {
    @Test func theQueueHoldsItsLimitAndCountsWhatItRefuses() async throws {
        try await TestQueue.run { queue in
            for batch in 0..<5 {
                try await queue.call("submit", (0..<100).flatMap { ["task", .string("t\(batch)-\($0)")] })
            }
            let before = try await queue.snapshot()
            #expect(before.taskIDs.count == 500)
            try await expectError("QueueFull") {
                _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .critical, id: "one-more"))
            }
            let after = try await queue.snapshot()
            #expect(after.changes(since: before, ignoring: ["stats queue_full_errors"]) == [])
            #expect(try await queue.stats().queueFullErrors == 1)

            // There is room for one task: one is accepted, and then none.
            _ = try await queue.worker("w")
            try await queue.pull("w", start: true)
            try await queue.submit("fits")
            try await expectRefusal("QUEUEFULL") { try await queue.submit("does-not") }
            #expect(try await queue.stats().queueFullErrors == 2)
        }
    }

    @Test func heldTasksCountTowardsTheLimit() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2]) { queue in
            try await queue.submit("a", ["delay_ms": "60000"])
            try await queue.submit("b")
            try await expectRefusal("QUEUEFULL") { try await queue.submit("c") }
        }
    }

    @Test func aBatchGoesInWholeOrNotAtAll() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5]) { queue in
            try await queue.submit("there")
            let before = try await queue.snapshot()
            for (tasks, code) in [
                (["a", "b", "c", "d", "e"], "QUEUEFULL"), (["a", "there"], "TASKEXISTS"), (["a", "a"], "BADREQUEST"),
                (["a", "bad id"], "BADREQUEST"),
            ] {
                let found = try await refusal {
                    try await queue.call("submit", ["batch", "b"] + tasks.flatMap { ["task", .string($0)] })
                }
                #expect(found == code)
            }
            let after = try await queue.snapshot()
            #expect(after.changes(since: before, ignoring: ["stats queue_full_errors"]) == [])
        }
    }

    @Test func anIdThatExistsIsRefusedWhateverItsState() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .low, id: "mine"))
            try await expectError("TaskExists") {
                _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .low, id: "mine"))
            }
        }
    }

    @Test func aRepeatedSubmissionIsAnsweredLikeTheFirstAndAddsNothing() async throws {
        try await TestQueue.run { queue in
            var task = QueuedTask(BuildRequest(), priority: .normal, id: "t")
            task.requestToken = "token"
            #expect(try await queue.handle.addTask(task).isRepetition == false)
            let before = try await queue.snapshot()
            let again = try await queue.handle.addTask(task)
            #expect(again.isRepetition)
            #expect(again.task.state == .pending)
            let batch = try await queue.handle.addTasks([task])
            #expect(batch.map(\.isRepetition) == [true])
            #expect(try await queue.snapshot().changes(since: before) == [])

            _ = try await queue.worker("w")
            try await queue.pull("w", start: true)
            try await queue.finish("w", "t", attempt: 1, "completed")
            #expect(try await queue.handle.addTask(task).task.state == .completed)
        }
    }

    @Test func aRepeatedBatchIsAnsweredLikeTheFirstAndANewOneUnderItsIdIsRefused() async throws {
        try await TestQueue.run { queue in
            let tasks = (0..<3).map { _ in QueuedTask(BuildRequest(), priority: .normal) }
            _ = try await queue.handle.addTasks(tasks, batch: "b")
            let before = try await queue.snapshot()
            let again = try await queue.handle.addTasks(tasks, batch: "b")
            #expect(again.map(\.isRepetition) == [true, true, true])
            let more = tasks + [QueuedTask(BuildRequest(), priority: .normal)]
            try await expectError("TaskExists") { _ = try await queue.handle.addTasks(more, batch: "b") }
            let others = [QueuedTask(BuildRequest(), priority: .normal)]
            try await expectError("TaskExists") { _ = try await queue.handle.addTasks(others, batch: "b") }
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test func withoutWorkersATaskIsRefusedWhenItsSubmitterWantsThat() async throws {
        try await TestQueue.run { queue in
            let task = QueuedTask(BuildRequest(), priority: .normal)
            let before = try await queue.snapshot()
            try await expectError("NoWorkers") { _ = try await queue.handle.addTask(task, rejectIfNoWorkers: true) }
            #expect(try await queue.snapshot().changes(since: before) == [])
            _ = try await queue.worker("w")
            _ = try await queue.handle.addTask(task, rejectIfNoWorkers: true)
            // A worker that missed its heartbeats does not count, even before a tick removes it.
            try await queue.missHeartbeats(of: "w")
            let late = QueuedTask(BuildRequest(), priority: .normal)
            try await expectError("NoWorkers") { _ = try await queue.handle.addTask(late, rejectIfNoWorkers: true) }
        }
    }

    @Test func everythingSubmittedIsReadBackByteForByte() async throws {
        try await TestQueue.run { queue in
            var request = BuildRequest()
            request.repo = "org/répo \"quoted\" \\ / \u{1F680}"
            request.target = "//a:b"
            request.args = ["--x=1", "", "a b", "\n"]
            request.mr = "42"
            request.labels = ["l1", "ü"]
            request.command = ["sh", "-c", "echo 'hi'"]
            request.environment = ["A": "1", "B=": "\u{0}"]
            request.cwd = "/tmp/ä"
            request.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            request.payload = Self.ugly(count: 1 << 19)
            var task = QueuedTask(request, priority: .high, id: "t")
            task.timeout = .milliseconds(1234)
            task.maxRetries = 7
            _ = try await queue.handle.addTask(task)
            let read = try await queue.handle.getTask("t")
            #expect(read.request == request)
            #expect(read.timeout == .milliseconds(1234))
            #expect(read.maxRetries == 7)
            let worker = try await queue.worker("w")
            let assignment = try #require(try await worker.pull(max: 1, holding: 0).first)
            #expect(assignment.task.request == request)
            #expect(assignment.timeout == .milliseconds(1234))
            #expect(assignment.attempt == 1)
        }
    }

    @Test func payloadAndResultOfAMebibyteAreTheSameBytesWhenReadBack() async throws {
        try await TestQueue.run { queue in
            let bytes = Self.ugly(count: 1 << 20)
            try await queue.call("submit", "task", "t", "payload", .buffer(bytes))
            let worker = try await queue.worker("w")
            let assignment = try #require(try await worker.pull(max: 1, holding: 0).first)
            let isSame = assignment.task.request.payload == bytes
            #expect(isSame)
            var report = WorkerClient.Report(taskID: "t", attempt: 1, outcome: .completed)
            report.result = bytes
            _ = try await worker.finish([report], pull: 0, holding: 0)
            let task = try await queue.handle.getTask("t")
            let (isSamePayload, isSameResult) = (task.request.payload == bytes, task.result == bytes)
            #expect(isSamePayload)
            #expect(isSameResult)

            let tooMuch = Self.ugly(count: (1 << 20) + 1)
            try await expectRefusal("BADREQUEST") {
                try await queue.call("submit", "task", "u", "payload", .buffer(tooMuch))
            }
        }
    }

    /// Every possible byte, including NUL and invalid UTF-8.
    private static func ugly(count: Int) -> ByteBuffer {
        let block = (0..<(1 << 16)).map { UInt8(truncatingIfNeeded: $0 ^ ($0 >> 8)) }
        var buffer = ByteBuffer()
        while buffer.readableBytes < count { buffer.writeBytes(block.prefix(count - buffer.readableBytes)) }
        return buffer
    }
}
