import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Scheduling options over HTTP: submitted, and read back.
@Suite struct OptionTests {
    @Test func everyOptionIsReadBack() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let options = #"""
            {"requires":["gpu","os=linux","zone!=eu","arch in (x86, arm)"],
             "resources":{"cpu":0.5,"memory_mb":512,"gpu":2},"affinity_key":"repo:a","group_key":"g",
             "fairness_key":"team","fairness_weight":2.5,"concurrency_key":"db","concurrency_limit":3,
             "rate_key":"api","rate_per_second":0.25,"rate_burst":4,"unique_key":"swift/swift-nio ü","unique_for_seconds":60}
            """#
        let id = try await world.submit(options, queue: queue)
        let task = try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")
        #expect(task["requires"].text == #"["gpu","os=linux","zone!=eu","arch=arm|x86"]"#)
        #expect(task["resources"].text == #"{"cpu":0.5,"memory_mb":512,"gpu":2}"#)
        for (name, value) in [
            ("affinity_key", "repo:a"), ("group_key", "g"), ("fairness_key", "team"), ("concurrency_key", "db"),
            ("rate_key", "api"), ("unique_key", "swift/swift-nio ü"),
        ] {
            #expect(task[name].string == value)
        }
        for (name, value) in [
            ("fairness_weight", "2.5"), ("concurrency_limit", "3"), ("rate_per_second", "0.25"), ("rate_burst", "4"),
            ("unique_for_seconds", "60"),
        ] {
            #expect(task[name] == .number(value))
        }
        let then = try await world.submit(#"{"depends_on":["\#(id)"],"run_anyway":true}"#, queue: queue)
        let waiting = try await world.ask(.GET, "/scheduler/task/\(then)?queue=\(queue)")
        #expect(waiting["held_by"].string == "dependencies")
        #expect(waiting["depends_on"].text == #"["\#(id)"]"#)
        #expect(waiting["run_anyway"] == true)
        // A task without options shows none of them.
        let plain = try await world.submit("{}", queue: queue)
        let names = try await world.ask(.GET, "/scheduler/task/\(plain)?queue=\(queue)").json.names
        #expect(SchedulingOptions.known.isDisjoint(with: names))
    }

    @Test func theTaskThatHasTheUniqueKeyIsAnswered() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let path = "/scheduler/task?queue=\(queue)"
        let first = try await world.ask(.POST, path, json: #"{"unique_key":"a","priority":"high"}"#)
        #expect(first.status == 201)
        #expect(!first.json.names.contains("unique"))
        let second = try await world.ask(.POST, path, json: #"{"unique_key":"a","priority":"low"}"#)
        #expect(second.status == 200)
        #expect(second["unique"] == true)
        #expect(second["task_id"] == first["task_id"])
        #expect(second["priority"].string == "high")
        #expect(second["status"].string == "queued")
        #expect(try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")["pending_tasks"].int == 1)

        let batch = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)", json: #"[{"unique_key":"a"},{"unique_key":"b"}]"#)
        #expect(batch.status == 201)
        #expect(batch["tasks"][0]["task_id"] == first["task_id"])
        #expect(batch["tasks"][0]["unique"] == true)
        #expect(batch["tasks"][1].names.contains("unique") == false)
    }

    @Test func aTaskWhoseNeedsNobodyMeetsMayBeRefused() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.worker(queue)
        let path = "/scheduler/task?queue=\(queue)"
        let refused = try await world.ask(.POST, path, json: #"{"requires":["gpu"],"if_no_workers":"reject"}"#)
        refused.expectProblem(503, code: "NoWorkers")
        #expect(refused["message"].string?.contains("gpu") == true)
        #expect(
            try await world.ask(.POST, path, json: #"{"requires":["os=linux"],"if_no_workers":"reject"}"#).status == 201
        )
    }

    @Test func aPendingTasksPriorityIsChanged() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let first = try await world.submit(#"{"priority":"normal"}"#, queue: queue)
        let second = try await world.submit(#"{"priority":"normal"}"#, queue: queue)
        let path = "/scheduler/task/\(second)?queue=\(queue)"
        let changed = try await world.ask(.PATCH, path, json: #"{"priority":"critical"}"#)
        #expect(changed.status == 200)
        #expect(changed["priority"].string == "critical")
        #expect(changed["queue_position"].int == 0)
        let worker = try await world.worker(queue)
        #expect(try await worker.pull(max: 1, holding: 0).map(\.task.id) == [second])
        try await world.ask(.PATCH, path, json: #"{"priority":"low"}"#)
            .expectProblem(409, code: "InvalidStateTransition")
        let other = "/scheduler/task/\(first)?queue=\(queue)"
        try await world.ask(.PATCH, other, json: "{}").expectProblem(400, code: "BadRequest", field: "priority")
        try await world.ask(.PATCH, other, json: #"{"priority":"urgent"}"#)
            .expectProblem(400, code: "BadRequest", field: "priority")
        try await world.ask(.PATCH, other, json: #"{"repo":"a"}"#).expectProblem(400, code: "BadRequest", field: "repo")
        try await world.ask(.PATCH, "/scheduler/task/none?queue=\(queue)", json: #"{"priority":"low"}"#)
            .expectProblem(404, code: "TaskNotFound")
    }
}
