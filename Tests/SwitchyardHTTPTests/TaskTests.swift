import Foundation
import NIOCore
import RedisClient
import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct TaskTests {
    /// The names that every task has.
    private static let names = [
        "task_id", "queue", "state", "held_by", "priority", "priority_reason", "attempt", "retry_count", "worker",
        "submitted_at", "assigned_at", "started_at", "finished_at", "lease_expires_at", "progress", "result", "error",
        "attempts",
    ]

    @Test func aTaskTellsItsWholeLife() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit(#"{"repo":"a"}"#, queue: queue)
        let path = "/scheduler/task/\(id)?queue=\(queue)"
        let waiting = try await world.ask(.GET, path)
        #expect(Self.names.allSatisfy(waiting.json.names.contains))
        #expect(waiting["queue_position"].int == 0)
        #expect(waiting["worker"] == .null)
        #expect(waiting["payload"] == .null)

        let worker = try await world.worker(queue)
        _ = try await worker.pull(max: 1, holding: 0)
        _ = try await worker.heartbeat([(id, 1, ByteBuffer(string: #"{"percent":50}"#))])
        let running = try await world.ask(.GET, path)
        #expect(running["state"].string == "running")
        #expect(running["worker"].string == "w1")
        #expect(running["attempt"].int == 1)
        #expect(running["progress"]["percent"].int == 50)
        #expect(running["attempts"][0]["outcome"] == .null)
        let expiry = try #require(running["lease_expires_at"].string)
        #expect(expiry.count == "2026-01-01T00:00:00.000Z".count)
        #expect(expiry.hasSuffix("Z"))

        var report = WorkerClient.Report(taskID: id, attempt: 1, outcome: .completed)
        report.result = ByteBuffer(string: #"{"exit_code":0,"duration_seconds":0.5}"#)
        report.exitCode = 0
        _ = try await worker.finish([report], pull: 0, holding: 1)
        let done = try await world.ask(.GET, path)
        #expect(done["state"].string == "completed")
        #expect(done["result"]["duration_seconds"] == .number("0.5"))
        #expect(done["lease_expires_at"] == .null)
        #expect(done["attempts"][0]["outcome"].string == "completed")
        #expect(done["attempts"][0]["exit_code"].int == 0)
    }

    @Test(arguments: [
        (Array("plain".utf8), "plain", false), ([0x68, 0xFF], "h\u{FFFD}", true),
        (Array("[".utf8) + Array(repeating: UInt8(ascii: "["), count: 5000), nil, false),
    ])
    func aResultThatIsNoJSONIsShownAsText(bytes: [UInt8], text: String?, isBinary: Bool) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        let worker = try await world.worker(queue)
        _ = try await worker.pull(max: 1, holding: 0)
        var report = WorkerClient.Report(taskID: id, attempt: 1, outcome: .completed)
        report.result = ByteBuffer(bytes: bytes)
        _ = try await worker.finish([report], pull: 0, holding: 1)
        let task = try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")
        #expect(task["result"].string == text ?? String(decoding: bytes, as: UTF8.self))
        #expect(task["result_base64"].string == (isBinary ? Data(bytes).base64EncodedString() : nil))
    }

    @Test func aLongPollReturnsAtTheNextChange() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        let worker = try await world.worker(queue)
        let path = "/scheduler/task/\(id)?queue=\(queue)&wait=30"
        let start = ContinuousClock.now
        async let polled = world.ask(.GET, path)
        // The server subscribes to the queue's changes when the poll begins.
        try await eventually("the poll waits") {
            let channels = try await world.redis.client.send(
                RedisCommand("PUBSUB", "CHANNELS", .string("switchyard:{\(queue)}:events")))
            return channels.array?.isEmpty == false
        }
        _ = try await worker.pull(max: 1, holding: 0)
        #expect(try await polled["state"].string == "running")
        #expect(ContinuousClock.now - start < .seconds(10))

        _ = try await worker.finish(
            [WorkerClient.Report(taskID: id, attempt: 1, outcome: .completed)], pull: 0, holding: 1)
        #expect(try await world.ask(.GET, path)["state"].string == "completed")
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    @Test func aLongPollReturnsTheUnchangedTaskWhenTheTimeIsOver() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        let start = ContinuousClock.now
        let answer = try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)&wait=0.3")
        #expect(answer.status == 200)
        #expect(answer["state"].string == "pending")
        #expect(ContinuousClock.now - start >= .milliseconds(300))
    }

    @Test func cancellingEndsTheTaskOnce() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        let path = "/scheduler/task/\(id)?queue=\(queue)"
        let cancelled = try await world.ask(.DELETE, path + "&reason=not%20needed")
        #expect(cancelled.status == 200)
        #expect(cancelled["state"].string == "cancelled")
        #expect(cancelled["error"]["message"].string == "not needed")
        try await world.ask(.DELETE, path).expectProblem(409, code: "InvalidStateTransition")
        let retried = try await world.ask(.POST, "/scheduler/task/\(id)/retry?queue=\(queue)")
        #expect(retried.status == 200)
        #expect(retried["state"].string == "pending")
        try await world.ask(.POST, "/scheduler/task/\(id)/retry?queue=\(queue)")
            .expectProblem(409, code: "InvalidStateTransition")
    }

    @Test func anUnknownTaskIsNotFoundEverywhere() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await world.ask(.GET, "/scheduler/task/none?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
        try await world.ask(.GET, "/scheduler/task/none?queue=\(queue)&wait=5").expectProblem(404, code: "TaskNotFound")
        try await world.ask(.DELETE, "/scheduler/task/none?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
        try await world.ask(.POST, "/scheduler/task/none/retry?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
        try await world.ask(.GET, "/scheduler/task/none/log?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    @Test func theListIsFilteredAndTurnedPageByPage() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        for index in 0..<5 {
            _ = try await world.submit(
                #"{"id":"t\#(index)","repo":"r\#(index % 2)","priority":"normal"}"#, queue: queue)
        }
        _ = try await world.worker(queue).pull(max: 1, holding: 0)
        var ids: [String] = []
        var cursor = ""
        repeat {
            let page = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)&limit=2&cursor=\(cursor)")
            #expect(page.status == 200)
            for index in 0..<page["tasks"].count { ids.append(page["tasks"][index]["task_id"].string ?? "") }
            cursor = page["cursor"].string ?? ""
        } while !cursor.isEmpty
        #expect(ids == ["t0", "t1", "t2", "t3", "t4"])

        let filtered = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)&repo=r0&state=pending")
        #expect(filtered["tasks"].count == 2)
        #expect(filtered["cursor"] == .null)
        let byWorker = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)&worker=w1")
        #expect(byWorker["tasks"][0]["task_id"].string == "t0")
        #expect(byWorker["tasks"].count == 1)
    }
}
