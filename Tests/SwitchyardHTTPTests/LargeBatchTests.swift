import RedisClient
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Batches of more tasks than one call carries, their follow-up, and their end.
@Suite struct LargeBatchTests {
    /// Each task depends on the one after it: the worst order in which to submit a chain.
    private func chain(_ count: Int, last: String = "") -> String {
        let tasks = (0..<count).map { index in
            let next = index + 1 < count ? "t\(index + 1)" : last
            return #"{"id":"t\#(index)""# + (next.isEmpty ? "}" : #","depends_on":["\#(next)"]}"#)
        }
        return #"{"batch_id":"chain","tasks":["# + tasks.joined(separator: ",") + "]}"
    }

    /// Waits until the ticks have nothing left to do.
    private func settle(_ world: World, _ queue: String) async throws {
        for _ in 0..<200 {
            let reply = try await world.redis.client.send(
                RedisCommand(
                    "FCALL", "switchyard_tick", 2, .string("switchyard:{\(queue)}:"),
                    .string("switchyard:{\(queue)}:config"), "limit", "500"))
            let fields = reply.array ?? []
            let more = fields.firstIndex { $0.string == "more" }.map { fields[$0 + 1].string }
            if more == "0" { return }
        }
    }

    @Test func aGraphOfThousandsComesInParts() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"max_queue_length":5000}"#)
        let path = "/scheduler/tasks?queue=\(queue)"
        let headers = [("Idempotency-Key", "graph")]
        let answer = try await world.ask(.POST, path, json: chain(2500), headers: headers)
        #expect(answer.status == 201)
        #expect(answer["tasks"].count == 2500)
        #expect(answer["tasks"][0]["task_id"].string == "t0")
        try await settle(world, queue)
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["ready_tasks"].int == 1)
        #expect(stats["waiting_tasks"].int == 2499)
        let worker = try await world.worker(queue)
        #expect(try await worker.pull(max: 4, holding: 0).map(\.task.id) == ["t2499"])
        let done = try await worker.finish(
            [WorkerClient.Report(taskID: "t2499", attempt: 1, outcome: .completed)], pull: 1, holding: 0)
        #expect(done.assignments.map(\.task.id) == ["t2498"])
        #expect(done.assignments.first?.dependencyResults.map { String(buffer: $0) } == #"{"t2499":null}"#)

        let again = try await world.ask(.POST, path, json: chain(2500), headers: headers)
        #expect(again.status == 200)
        let batch = try await world.ask(.GET, "/scheduler/batch/chain?queue=\(queue)")
        #expect(batch["total"].int == 2500)
        #expect(batch["completed"].int == 1)

        let cancelled = try await world.ask(.DELETE, "/scheduler/batch/chain?queue=\(queue)")
        #expect(cancelled.status == 200)
        try await settle(world, queue)
        let ended = try await world.ask(.GET, "/scheduler/batch/chain?queue=\(queue)")
        #expect(ended["cancelled"].int == 2499)
        #expect(ended["finished"] == true)
        #expect(ended["progress"] == .number("1.0"))
        try await world.ask(.DELETE, "/scheduler/batch/none?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
    }

    @Test func aLargeBatchIsAllOrNothing() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let path = "/scheduler/tasks?queue=\(queue)"
        // One part fits, the second does not.
        _ = try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"max_queue_length":1500}"#)
        try await world.ask(.POST, path, json: chain(2500)).expectProblem(429, code: "QueueFull")
        try await world.ask(.GET, "/scheduler/batch/chain?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
        try await world.ask(.GET, "/scheduler/task/t2499?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
        let keys = try await world.redis.keys(of: queue)
        #expect(keys.allSatisfy { $0.hasSuffix(":config") || $0.hasSuffix(":stats") }, "\(keys.prefix(5))")

        let cycle = try await world.ask(.POST, path, json: chain(2500, last: "t2498"))
        cycle.expectProblem(400, code: "BadRequest", field: "depends_on")
        #expect(cycle["message"].string?.contains("the tasks form the cycle t2498 → t2499 → t2498") == true)
    }

    @Test func theFollowUpTaskRunsOnceWhenTheRestHasEnded() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)",
            json: #"""
                {"batch_id":"b","tasks":[{"id":"a"},{"id":"b","depends_on":["a"]}],
                 "on_complete":{"id":"then","command":["echo","done"],"payload":{"x":1},"priority":"high"}}
                """#)
        #expect(answer.status == 201)
        try await world.ask(.GET, "/scheduler/task/then?queue=\(queue)").expectProblem(404, code: "TaskNotFound")
        _ = try await world.ask(.DELETE, "/scheduler/task/a?queue=\(queue)")
        #expect(try await world.ask(.GET, "/scheduler/task/b?queue=\(queue)")["state"].string == "cancelled")
        let then = try await world.ask(.GET, "/scheduler/task/then?queue=\(queue)")
        #expect(then["state"].string == "pending")
        #expect(then["priority"].string == "high")
        #expect(then["command"].text == #"["echo","done"]"#)
        #expect(then["payload"]["x"].int == 1)
        #expect(then["payload"]["batch"]["failed_ids"].text == #"["a","b"]"#)
        #expect(try await world.ask(.GET, "/scheduler/batch/b?queue=\(queue)")["follow_up_task_id"].string == "then")
    }
}
