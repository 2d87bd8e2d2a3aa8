import NIOCore
import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct SubmissionTests {
    @Test func aTaskIsAnsweredWithItsPlaceAndWhereToFindIt() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .POST, "/scheduler/task", json: #"{"repo":"tools","target":"//a:b","queue":"\#(queue)"}"#)
        #expect(answer.status == 201)
        let id = try #require(answer["task_id"].string)
        #expect(answer.headers.first(name: "Location") == "/scheduler/task/\(id)?queue=\(queue)")
        #expect(
            answer.json.names == [
                "task_id", "queue", "state", "status", "priority", "priority_reason", "queue_position",
            ])
        #expect(answer["queue"].string == queue)
        #expect(answer["state"].string == "pending")
        #expect(answer["status"].string == "queued")
        #expect(answer["priority"].string == "normal")
        #expect(answer["priority_reason"].string == "default")
        #expect(answer["queue_position"].int == 0)
    }

    @Test func aTaskThatWakesAWorkerIsDispatched() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let worker = try await world.worker(queue)
        #expect(try await worker.pull(max: 1, holding: 0).isEmpty)
        let answer = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: "{}")
        #expect(answer.status == 201)
        #expect(answer["status"].string == "dispatched")
        let next = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: "{}")
        #expect(next["status"].string == "queued")
    }

    @Test func everythingSubmittedIsReadBackAndHandedToTheWorker() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let body = #"""
            {"id":"t:1","repo":"r","target":"//x","args":["-c","a b"],"mr":"17","labels":["gpu"],
             "command":["/bin/echo","ä"],"env":{"A":"1","B":"x=y"},"cwd":"/tmp","priority":"high",
             "payload":{"big":123456789012345678901234567890,"f":1.10,"b":[true,null],"u":"\u00e9\u0000"},
             "timeout_seconds":1.5,"max_retries":7}
            """#
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        let answer = try await world.ask(
            .POST, "/scheduler/task?queue=\(queue)", json: body, headers: [("traceparent", trace)])
        #expect(answer.status == 201)
        let task = try await world.ask(.GET, "/scheduler/task/t%3A1?queue=\(queue)")
        #expect(task["timeout_seconds"] == .number("1.5"))
        #expect(task["max_retries"].int == 7)
        #expect(task["priority"].string == "high")
        #expect(task["priority_reason"].string == "given")
        #expect(task["payload"]["big"] == .number("123456789012345678901234567890"))
        #expect(task["payload"]["f"] == .number("1.10"))
        #expect(task["payload"]["u"].string == "é\0")
        #expect(task["env"]["B"].string == "x=y")
        #expect(task["traceparent"].string == trace)

        let assigned = try #require(try await world.worker(queue).pull(max: 1, holding: 0).first)
        #expect(assigned.task.request.command == ["/bin/echo", "ä"])
        #expect(assigned.task.request.environment == ["A": "1", "B": "x=y"])
        #expect(assigned.task.request.cwd == "/tmp")
        #expect(assigned.task.request.args == ["-c", "a b"])
        #expect(assigned.task.request.traceparent == trace)
        #expect(assigned.timeout == .milliseconds(1500))
    }

    @Test func priorityNullAsksForTheAutomaticOne() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .POST, "/scheduler/task?queue=\(queue)", json: #"{"priority":null,"labels":["hotfix"]}"#)
        #expect(answer["priority"].string == "critical")
        #expect(answer["priority_reason"].string == "label hotfix")
    }

    @Test func delaysAndTimesHoldTheTask() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let delayed = try await world.submit(#"{"delay_seconds":60}"#, queue: queue)
        let task = try await world.ask(.GET, "/scheduler/task/\(delayed)?queue=\(queue)")
        #expect(task["held_by"].string == "schedule")
        #expect(task["due_at"].string != nil)
        let timed = try await world.submit(#"{"run_at":"2050-01-02T03:04:05.678+01:00"}"#, queue: queue)
        let later = try await world.ask(.GET, "/scheduler/task/\(timed)?queue=\(queue)")
        #expect(later["run_at"].string == "2050-01-02T02:04:05.678Z")
    }

    @Test func theQueuesSettingsAreTheDefaults() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let settings = try await world.ask(
            .PATCH, "/scheduler/queue/\(queue)", json: #"{"default_timeout_seconds":12,"default_max_retries":9}"#)
        #expect(settings.status == 200)
        let id = try await world.submit("{}", queue: queue)
        let task = try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")
        #expect(task["timeout_seconds"].int == 12)
        #expect(task["max_retries"].int == 9)
    }

    @Test func theSameIdempotencyKeyAndBodyMakesOneTask() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let headers = [("Idempotency-Key", "order 17")]
        let path = "/scheduler/task?queue=\(queue)"
        let first = try await world.ask(.POST, path, json: #"{"repo":"a","mr":"1"}"#, headers: headers)
        // The same JSON value, written differently.
        let again = try await world.ask(.POST, path, json: #"{ "mr":"1", "repo":"a" }"#, headers: headers)
        #expect(first.status == 201)
        #expect(again.status == 200)
        #expect(again["task_id"] == first["task_id"])
        #expect(again["priority_reason"] == first["priority_reason"])
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["pending_tasks"].int == 1)

        let other = try await world.ask(.POST, path, json: #"{"repo":"b"}"#, headers: headers)
        other.expectProblem(409, code: "TaskExists", field: "Idempotency-Key")
        let fresh = try await world.ask(.POST, path, json: #"{"repo":"b"}"#, headers: [("Idempotency-Key", "18")])
        #expect(fresh.status == 201)
    }

    @Test func anIdempotencyKeyAlsoHoldsForABatchAndABuildRequest() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let headers = [("Idempotency-Key", "batch")]
        let first = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)", json: #"[{"repo":"a"},{"repo":"b"}]"#, headers: headers)
        let again = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)", json: #"[{"repo":"a"},{"repo":"b"}]"#, headers: headers)
        #expect(first.status == 201)
        #expect(again.status == 200)
        #expect(again["batch_id"] == first["batch_id"])
        #expect(again["tasks"][1]["task_id"] == first["tasks"][1]["task_id"])

        let build = #"{"repo":"a","targets":["//x"]}"#
        let orion = [("Idempotency-Key", "orion")]
        let one = try await world.ask(.POST, "/v2/task?queue=\(queue)", json: build, headers: orion)
        let two = try await world.ask(.POST, "/v2/task?queue=\(queue)", json: build, headers: orion)
        #expect(one["task_id"].string != nil)
        #expect(one["task_id"] == two["task_id"])
        #expect(one["results"][0]["build_id"] == two["results"][0]["build_id"])
    }

    @Test func anIdThatIsTakenIsAConflict() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.submit(#"{"id":"mine"}"#, queue: queue)
        try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: #"{"id":"mine"}"#)
            .expectProblem(409, code: "TaskExists")
    }

    @Test func theTaskBeyondTheLimitIsRefusedAndCounted() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let tasks = "[" + Array(repeating: "{}", count: 500).joined(separator: ",") + "]"
        #expect(try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: tasks).status == 201)
        let refused = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: "{}")
        refused.expectProblem(429, code: "QueueFull")
        #expect(refused["limit"].int == 500)
        #expect(refused["retry_after"].int == 2)
        #expect(refused.headers.first(name: "Retry-After") == "2")
        try await world.ask(.POST, "/v2/task?queue=\(queue)", json: #"{"repo":"a","targets":["//x"]}"#)
            .expectProblem(429, code: "QueueFull")
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["queue_full_errors"].int == 2)
        #expect(stats["pending_tasks"].int == 500)
    }

    @Test func aSubmissionMayInsistOnAWorker() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let path = "/scheduler/task?queue=\(queue)"
        let refused = try await world.ask(.POST, path, json: #"{"if_no_workers":"reject"}"#)
        refused.expectProblem(503, code: "NoWorkers")
        #expect(refused.headers.first(name: "Retry-After") == "2")
        #expect(try await world.ask(.POST, path, json: #"{"if_no_workers":"queue"}"#).status == 201)
        _ = try await world.worker(queue)
        #expect(try await world.ask(.POST, path, json: #"{"if_no_workers":"reject"}"#).status == 201)
    }

    /// The Redis of these tests has no replica.
    @Test func aSubmissionThatRedisReplicasLackIsAccepted() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        for (path, count, body) in [
            ("task", 0, #"{"replicas_to_wait":0}"#), ("task", 1, #"{"id":"a","replicas_to_wait":1}"#),
            ("tasks", 0, #"[{"replicas_to_wait":0},{}]"#), ("tasks", 1, #"[{},{"replicas_to_wait":1}]"#),
            ("tasks", 1, #"{"tasks":[{"replicas_to_wait":0}],"replicas_to_wait":1}"#),
        ] {
            let response = try await world.ask(.POST, "/scheduler/\(path)?queue=\(queue)", json: body)
            #expect(response.status == (count == 0 ? 201 : 202), "\(body)")
            #expect(response["replicated"] == (count == 0 ? .null : .bool(false)), "\(body)")
        }
        // They are in the queue all the same.
        #expect(try await world.ask(.GET, "/scheduler/task/a?queue=\(queue)").status == 200)
        // The setting counts for submissions that say nothing, at the latest seconds after its change.
        let setting = try await world.ask(
            .PATCH, "/scheduler/queue/\(queue)", json: #"{"replicas_to_wait":1}"#)
        #expect(setting.status == 200)
        try await eventually("the setting counts", within: .seconds(30)) {
            try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: "{}").status == 202
        }
    }
}
