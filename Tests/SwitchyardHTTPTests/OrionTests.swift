import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct OrionTests {
    @Test func aBuildRequestBecomesATaskForEachTarget() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let worker = try await world.worker(queue)
        #expect(try await worker.pull(max: 1, holding: 0).isEmpty)
        let answer = try await world.ask(
            .POST, "/v2/task?queue=\(queue)",
            json: #"{"repo":"core/x","cl_link":"CL7","cl_id":12345678901234567890,"#
                + #""changes":[{"M":"a.c"}],"targets":["//a","//b"]}"#
        )
        #expect(answer.status == 200)
        #expect(answer["results"].count == 2)
        #expect(answer["results"][0]["status"].string == "dispatched")
        #expect(answer["results"][1]["status"].string == "queued")
        #expect(answer["results"][1]["message"].string?.contains("repository name has core") == true)
        let batch = try #require(answer["task_id"].string)
        #expect(try await world.ask(.GET, "/scheduler/batch/\(batch)?queue=\(queue)")["total"].int == 2)
        let id = try #require(answer["results"][1]["build_id"].string)
        let task = try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")
        #expect(task["target"].string == "//b")
        #expect(task["mr"].string == "CL7")
        #expect(task["payload"]["cl_id"] == .number("12345678901234567890"))
        #expect(task["payload"]["changes"][0]["M"].string == "a.c")
    }

    @Test func mrIsAnotherNameForTheLink() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .POST, "/v2/task?queue=\(queue)", json: #"{"repo":"r","mr":"CL8","targets":["//a"]}"#)
        let id = try #require(answer["results"][0]["build_id"].string)
        #expect(try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")["mr"].string == "CL8")
    }

    @Test(arguments: [
        (#"{"repo":"r","mr":"1"}"#, "targets"), (#"{"repo":"r","targets":[]}"#, "targets"),
        (#"{"repo":"r","targets":[""]}"#, "targets[0]"), (#"{"repo":"r","targets":[1]}"#, "targets[0]"),
        (#"{"repo":"r","targets":"//a"}"#, "targets"), (#"{"targets":["//a"]}"#, "repo"),
        (#"{"repo":"r","mr":"1","cl_link":"2","targets":["//a"]}"#, "cl_link"),
        (#"{"repo":"r","cl_id":[],"targets":["//a"]}"#, "cl_id"),
        (#"{"repo":"r","changes":{},"targets":["//a"]}"#, "changes"),
        (#"{"repo":"r","target":"//a","targets":["//a"]}"#, "target"), ("[]", "body"),
    ])
    func aBadBuildRequestIsRefusedByField(body: String, field: String) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await world.ask(.POST, "/v2/task?queue=\(queue)", json: body)
            .expectProblem(400, code: "BadRequest", field: field)
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }
}
