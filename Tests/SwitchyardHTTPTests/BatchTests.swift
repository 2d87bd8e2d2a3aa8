import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct BatchTests {
    @Test(arguments: [
        ("application/json", #"[{"repo":"a"},{"repo":"b"},{"repo":"c"}]"#),
        ("application/json", #"{"tasks":[{"repo":"a"},{"repo":"b"},{"repo":"c"}]}"#),
        ("application/x-ndjson", "{\"repo\":\"a\"}\n\n{\"repo\":\"b\"}\r\n{\"repo\":\"c\"}"),
    ])
    func aBatchComesInThreeForms(type: String, body: String) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)", json: body, headers: [("Content-Type", type)])
        #expect(answer.status == 201)
        #expect(answer["tasks"].count == 3)
        let batch = try #require(answer["batch_id"].string)
        let id = try #require(answer["tasks"][2]["task_id"].string)
        let task = try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")
        #expect(task["repo"].string == "c")
        #expect(task["batch_id"].string == batch)
    }

    @Test func aBatchIsFollowedAsOne() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)",
            json: #"{"batch_id":"b1","tasks":[{"id":"a"},{"id":"b","max_retries":0},{"id":"c"},{"id":"d"}]}"#)
        #expect(answer["batch_id"].string == "b1")
        #expect(answer.headers.first(name: "Location") == "/scheduler/batch/b1?queue=\(queue)")
        let worker = try await world.worker(queue)
        let assigned = try await worker.pull(max: 3, holding: 0)
        let ended = try await worker.finish(
            [
                WorkerClient.Report(taskID: "a", attempt: 1, outcome: .completed),
                WorkerClient.Report(taskID: "b", attempt: 1, outcome: .failed),
            ], pull: 0, holding: assigned.count)
        #expect(ended.states.count == 2)
        let batch = try await world.ask(.GET, "/scheduler/batch/b1?queue=\(queue)")
        #expect(batch.status == 200)
        #expect(batch["total"].int == 4)
        #expect(batch["pending"].int == 1)
        #expect(batch["running"].int == 1)
        #expect(batch["completed"].int == 1)
        #expect(batch["failed"].int == 1)
        #expect(batch["timeout"].int == 0)
        #expect(batch["cancelled"].int == 0)
        #expect(batch["finished"] == false)
        for id in ["c", "d"] { _ = try await world.ask(.DELETE, "/scheduler/task/\(id)?queue=\(queue)") }
        #expect(try await world.ask(.GET, "/scheduler/batch/b1?queue=\(queue)")["finished"] == true)
        try await world.ask(.GET, "/scheduler/batch/none?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
    }

    @Test func aBatchIsAllOrNothing() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.submit(#"{"id":"taken"}"#, queue: queue)
        try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: #"[{"id":"new"},{"id":"taken"}]"#)
            .expectProblem(409, code: "TaskExists")
        try await world.ask(.GET, "/scheduler/task/new?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
    }

    @Test func aBatchOfMoreThanFiftyThousandNamesTheLimit() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let body = "[" + Array(repeating: "{}", count: 50_001).joined(separator: ",") + "]"
        let answer = try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: body)
        answer.expectProblem(400, code: "BadRequest", field: "tasks")
        #expect(answer["limit"].int == 50_000)
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    @Test(arguments: [false, true])
    func theFollowUpRunsOnceOrEachTime(isRepeated: Bool) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)",
            json: #"""
                {"batch_id":"b","tasks":[{"id":"a"},{"id":"c"}],"on_complete":{"id":"then"},
                 "on_complete_again":\#(isRepeated)}
                """#)
        #expect(answer.status == 201)
        func batch() async throws -> Answer { try await world.ask(.GET, "/scheduler/batch/b?queue=\(queue)") }
        for id in ["c", "a"] { _ = try await world.ask(.DELETE, "/scheduler/task/\(id)?queue=\(queue)") }
        #expect(try await batch()["failed_task_ids"].count == 2)
        #expect(try await batch()["follow_up_task_id"].string == "then")
        _ = try await world.ask(.POST, "/scheduler/task/a/retry?queue=\(queue)")
        #expect(try await batch()["finished"] == false)
        #expect(try await batch()["failed_task_ids"].text == #"["c"]"#)
        let worker = try await world.worker(queue)
        #expect(try await worker.pull(max: 2, holding: 0).count == 2)
        _ = try await worker.finish(
            [WorkerClient.Report(taskID: "a", attempt: 1, outcome: .completed)], pull: 0, holding: 2)
        #expect(try await batch()["finished"] == true)
        #expect(try await batch()["follow_up_task_id"].string == (isRepeated ? "then-2" : "then"))
        let then = try await world.ask(.GET, "/scheduler/task/then-2?queue=\(queue)")
        #expect(then.status == (isRepeated ? 200 : 404))
        if isRepeated { #expect(then["env"]["SWITCHYARD_BATCH_FAILED_IDS"].string == "c") }
    }

    @Test func aFollowUpIsNeededToRepeatIt() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)", json: #"{"tasks":[{}],"on_complete_again":true}"#
        ).expectProblem(400, code: "BadRequest", field: "on_complete_again")
    }
}
