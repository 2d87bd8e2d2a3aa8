import AsyncHTTPClient
import NIOCore
import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct LogTests {
    private func running(_ world: World, _ queue: String) async throws -> (id: String, worker: WorkerClient) {
        let id = try await world.submit("{}", queue: queue)
        let worker = try await world.worker(queue)
        _ = try await worker.pull(max: 1, holding: 0)
        return (id, worker)
    }

    private func say(_ text: String, stream: String = "stdout", _ id: String, _ worker: WorkerClient) async throws {
        try await worker.log(taskID: id, attempt: 1, [(stream, ByteBuffer(string: text))])
    }

    @Test func theOutputIsPlainTextByDefault() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let (id, worker) = try await running(world, queue)
        for index in 0..<150 { try await say("line \(index)\n", id, worker) }
        let answer = try await world.ask(.GET, "/scheduler/task/\(id)/log?queue=\(queue)")
        #expect(answer.status == 200)
        #expect(answer.headers.first(name: "Content-Type") == "text/plain; charset=utf-8")
        #expect(answer.text == (0..<150).map { "line \($0)\n" }.joined())
    }

    /// Runs a task whose log is then removed, because another task writes.
    private func removed(_ world: World, _ queue: String) async throws -> String {
        _ = try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"log_budget_bytes":1000}"#)
        let (id, worker) = try await running(world, queue)
        try await say(String(repeating: "x", count: 900), id, worker)
        _ = try await worker.finish(
            [WorkerClient.Report(taskID: id, attempt: 1, outcome: .completed)], pull: 0, holding: 0)
        let other = try await world.submit("{}", queue: queue)
        _ = try await worker.pull(max: 1, holding: 0)
        try await say(String(repeating: "y", count: 1100), other, worker)
        return id
    }

    @Test func aLogThatWasRemovedSaysSo() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await removed(world, queue)
        let path = "/scheduler/task/\(id)/log?queue=\(queue)"
        let sentence = "its log was removed to keep within log_budget"
        #expect(try await world.ask(.GET, path).text == "[switchyard: \(sentence)]\n")
        let json = try await world.ask(.GET, path + "&format=json")
        #expect(json["removed"].string == sentence)
        #expect(json["entries"].count == 0)
        let followed = try await world.ask(.GET, path + "&follow=1")
        #expect(followed.text.contains("event: end\ndata: "))
        #expect(followed.text.contains(sentence))
        #expect(try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")["log_removed_bytes"].int == 900)
    }

    @Test func theRoomThatLogsTakeIsTold() async throws {
        let world = try await World.start(redis: RedisForTests.start())
        let queue = world.newQueue()
        _ = try await removed(world, queue)
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["log_bytes"].int == 1100 + 32)
        #expect(stats["log_budget_bytes"].int == 1000)
        #expect(stats["logs_removed"].int == 1)
        let health = try await world.ask(.GET, "/v2/health")
        #expect(health["logs"]["bytes"].int == 1100 + 32)
        #expect(health["logs"]["removed"].int == 1)
        // The log of a running task alone is beyond the budget.
        #expect(health["status"].string == "degraded")
        #expect(health.text.contains("logs_over_budget"))
        await world.stop()
    }

    @Test func theOutputIsEntriesInJSON() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let (id, worker) = try await running(world, queue)
        try await say("out", id, worker)
        try await say("err", stream: "stderr", id, worker)
        let path = "/scheduler/task/\(id)/log?queue=\(queue)"
        for answer in [
            try await world.ask(.GET, path + "&format=json"),
            try await world.ask(.GET, path, headers: [("Accept", "application/json")]),
        ] {
            #expect(answer["entries"].count == 2)
            #expect(answer["entries"][0]["data"].string == "out")
            #expect(answer["entries"][1]["stream"].string == "stderr")
            #expect(answer["entries"][1]["attempt"].int == 1)
            #expect(answer["cursor"] == .null)
        }
        let first = try await world.ask(.GET, path + "&format=json&limit=1")
        let cursor = try #require(first["cursor"].string)
        let rest = try await world.ask(.GET, path + "&format=json&after=\(cursor)")
        #expect(rest["entries"][0]["data"].string == "err")
        #expect(rest["entries"].count == 1)
    }

    @Test func aFollowerSeesEntriesAsTheyComeAndTheEnd() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let (id, worker) = try await running(world, queue)
        try await say("before\nit", id, worker)
        let request = HTTPClientRequest(url: world.url("/scheduler/task/\(id)/log?queue=\(queue)&follow=1"))
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
        #expect(response.headers.first(name: "Content-Type") == "text/event-stream")
        var text = ""
        var hasSaidMore = false
        var hasFinished = false
        for try await part in response.body {
            text += String(buffer: part)
            if !hasSaidMore, text.contains(#"before\nit"#) {
                hasSaidMore = true
                try await say("after", stream: "stderr", id, worker)
            }
            if !hasFinished, text.contains(#""data":"after""#) {
                hasFinished = true
                try await say("last words", id, worker)
                _ = try await worker.finish(
                    [WorkerClient.Report(taskID: id, attempt: 1, outcome: .completed)], pull: 0, holding: 1)
            }
        }
        let events = text.components(separatedBy: "\n\n").filter { $0.contains("data:") }
        #expect(events.count == 4)
        #expect(events[0].hasSuffix(#"data: {"attempt":1,"stream":"stdout","data":"before\nit"}"#))
        #expect(events[1].hasSuffix(#"data: {"attempt":1,"stream":"stderr","data":"after"}"#))
        #expect(events[2].contains("last words"))
        #expect(events[3] == "event: end\ndata: {\"task_id\":\"\(id)\",\"state\":\"completed\"}")

        let entry = try #require(events[0].split(separator: "\n").first { $0.hasPrefix("id: ") }?.dropFirst(4))
        let resumed = try await world.ask(
            .GET, "/scheduler/task/\(id)/log?queue=\(queue)&follow=1", headers: [("Last-Event-ID", String(entry))])
        #expect(!resumed.text.contains("before"))
        #expect(resumed.text.contains("after"))
        #expect(resumed.text.hasSuffix("\n\n"))
        #expect(resumed.text.contains("event: end"))
    }

    @Test func aBadCursorIsRefused() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        let path = "/scheduler/task/\(id)/log?queue=\(queue)"
        try await world.ask(.GET, path + "&after=x").expectProblem(400, code: "BadRequest", field: "after")
        try await world.ask(.GET, path + "&follow=1", headers: [("Last-Event-ID", "-")])
            .expectProblem(400, code: "BadRequest", field: "Last-Event-ID")
        try await world.ask(.GET, path + "&format=xml").expectProblem(400, code: "BadRequest", field: "format")
        try await world.ask(.GET, path + "&follow=maybe").expectProblem(400, code: "BadRequest", field: "follow")
    }

    @Test func followersAreBounded() async throws {
        var options = HTTPServerOptions()
        options.maxLogFollowers = 0
        let shared = try await World.shared
        let world = try await World.start(redis: shared.redis, options: options)
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        try await world.ask(.GET, "/scheduler/task/\(id)/log?queue=\(queue)&follow=1")
            .expectProblem(503, code: "Internal")
        await world.stop()
    }
}
