import NIOCore
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// A list leaves out what is long; a task on its own has everything.
@Suite struct LongValueTests {
    private func payload(_ bytes: Int) -> String { "\"" + String(repeating: "p", count: bytes - 2) + "\"" }

    @Test(arguments: [2, 100, 600, 1024, 1025, 100_000, 1_000_000]) func aListHasShortPayloads(bytes: Int) async throws
    {
        let world = try await World.shared
        let queue = world.newQueue()
        let text = payload(bytes)
        let id = try await world.submit(#"{"repo":"r","payload":\#(text)}"#, queue: queue)
        let list = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)")
        let listed = list["tasks"][0]
        #expect(listed["task_id"].string == id && listed["repo"].string == "r")
        let isLong = bytes > 1024
        #expect(listed["payload"] == (isLong ? .null : .string(String(text.dropFirst().dropLast()))))
        #expect(listed.names.contains("payload") == !isLong)
        #expect(listed["omitted"] == (isLong ? .array([.string("payload")]) : .null))
        // It has no result yet, and says so.
        #expect(listed.names.contains("result"))
        let whole = try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")
        #expect(whole["payload"].string?.utf8.count == bytes - 2)
        #expect(whole["omitted"] == .null)
    }

    @Test func aPageOfLargeTasksIsFullAndSmall() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let text = payload(500_000)
        for _ in 0..<20 { _ = try await world.submit(#"{"payload":\#(text)}"#, queue: queue) }
        let worker = try await world.worker(queue, slots: 1)
        let task = try #require(try await worker.pull(max: 1, holding: 0).first)
        var report = WorkerClient.Report(taskID: task.task.id, attempt: 1, outcome: .completed)
        report.result = ByteBuffer(string: text)
        _ = try await worker.finish([report], pull: 0, holding: 1)
        let page = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)&limit=80")
        #expect(page["tasks"].count == 20)
        #expect(page.body.readableBytes < 100_000)
        let ended = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)&state=completed")
        #expect(ended["tasks"][0]["omitted"] == .array([.string("payload"), .string("result")]))
        #expect(!ended["tasks"][0].names.contains("result"))
    }
}
