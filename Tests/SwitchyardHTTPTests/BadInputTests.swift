import NIOCore
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Each wrong field is named in the problem, and nothing is written.
@Suite struct BadInputTests {
    struct Bad: Sendable, CustomTestStringConvertible {
        var body: String
        var field: String
        var testDescription: String { String(body.prefix(60)) }

        init(_ body: String, _ field: String) {
            self.body = body
            self.field = field
        }
    }

    static let tasks: [Bad] = [
        // Not JSON.
        Bad("", "body"), Bad("{", "body"), Bad("{}x", "body"), Bad(#"{"repo":"a",}"#, "body"), Bad("nul", "body"),
        Bad(#"{"timeout_seconds":NaN}"#, "body"), Bad(#"{"timeout_seconds":01}"#, "body"),
        Bad(#"{"timeout_seconds":+1}"#, "body"), Bad(#"{"timeout_seconds":.5}"#, "body"),
        Bad(#"{"repo":"\ud800"}"#, "body"), Bad(#"{"repo":"\x"}"#, "body"), Bad("{'repo':1}", "body"),
        Bad("{\"repo\":\"a\nb\"}", "body"), Bad("// hi\n{}", "body"),
        Bad(#"{"payload":"# + String(repeating: "[", count: 2000) + String(repeating: "]", count: 2000) + "}", "body"),
        Bad(String(repeating: "[", count: 100_000), "body"),
        Bad(String(repeating: #"{"a":"#, count: 50_000), "body"),
        // JSON that is not a task.
        Bad("[]", "body"), Bad("null", "body"), Bad("3", "body"), Bad(#""text""#, "body"),
        // Unknown fields.
        Bad(#"{"tiemout":1}"#, "tiemout"), Bad(#"{"":1}"#, ""), Bad(#"{"Repo":"a"}"#, "Repo"),
        // Wrong types.
        Bad(#"{"repo":1}"#, "repo"), Bad(#"{"target":["a"]}"#, "target"), Bad(#"{"args":"a"}"#, "args"),
        Bad(#"{"args":["a",1]}"#, "args[1]"), Bad(#"{"labels":[null]}"#, "labels[0]"), Bad(#"{"env":[]}"#, "env"),
        Bad(#"{"env":{"A":1}}"#, "env.A"), Bad(#"{"command":{}}"#, "command"), Bad(#"{"cwd":false}"#, "cwd"),
        Bad(#"{"mr":17}"#, "mr"), Bad(#"{"priority":1}"#, "priority"), Bad(#"{"id":1}"#, "id"),
        Bad(#"{"timeout_seconds":"1"}"#, "timeout_seconds"), Bad(#"{"max_retries":"1"}"#, "max_retries"),
        Bad(#"{"run_at":1700000000}"#, "run_at"), Bad(#"{"if_no_workers":true}"#, "if_no_workers"),
        Bad(#"{"replicas_to_wait":"1"}"#, "replicas_to_wait"), Bad(#"{"replicas_to_wait":-1}"#, "replicas_to_wait"),
        Bad(#"{"replicas_to_wait":101}"#, "replicas_to_wait"), Bad(#"{"replicas_to_wait":0.5}"#, "replicas_to_wait"),
        // Wrong values.
        Bad(#"{"priority":"urgent"}"#, "priority"), Bad(#"{"priority":"High"}"#, "priority"),
        Bad(#"{"if_no_workers":"wait"}"#, "if_no_workers"), Bad(#"{"timeout_seconds":0}"#, "timeout_seconds"),
        Bad(#"{"timeout_seconds":-1}"#, "timeout_seconds"), Bad(#"{"timeout_seconds":1e999}"#, "body"),
        Bad(#"{"timeout_seconds":0.0001}"#, "timeout_seconds"),
        Bad(#"{"timeout_seconds":99999999999999999999}"#, "timeout_seconds"),
        Bad(#"{"max_retries":-1}"#, "max_retries"), Bad(#"{"max_retries":1.5}"#, "max_retries"),
        Bad(#"{"max_retries":101}"#, "max_retries"), Bad(#"{"max_retries":1e400}"#, "body"),
        Bad(#"{"max_retries":99999999999999999999999}"#, "max_retries"),
        Bad(#"{"delay_seconds":-0.5}"#, "delay_seconds"), Bad(#"{"delay_seconds":1e12}"#, "delay_seconds"),
        Bad(#"{"run_at":"tomorrow"}"#, "run_at"), Bad(#"{"run_at":"2026-02-30T00:00:00Z"}"#, "run_at"),
        Bad(#"{"run_at":"2026-01-01T00:00:00"}"#, "run_at"), Bad(#"{"run_at":"1960-01-01T00:00:00Z"}"#, "run_at"),
        Bad(#"{"run_at":"2026-01-01T25:00:00Z"}"#, "run_at"),
        // Names.
        Bad(#"{"id":""}"#, "id"), Bad(#"{"id":"../etc"}"#, "id"), Bad(#"{"id":"a{b}"}"#, "id"),
        Bad(#"{"id":"a b"}"#, "id"), Bad(#"{"id":"ä"}"#, "id"), Bad(#"{"id":"a\u0000"}"#, "id"),
        Bad(#"{"id":"a\nb"}"#, "id"), Bad(#"{"id":""# + String(repeating: "a", count: 201) + #""}"#, "id"),
        // Commands that no process can be started with.
        Bad(#"{"command":["a\u0000b"]}"#, "command[0]"), Bad(#"{"command":[""]}"#, "command[0]"),
        Bad(#"{"env":{"A":"\u0000"}}"#, "env.A"), Bad(#"{"env":{"A\u0000":"x"}}"#, "env"),
        Bad(#"{"env":{"A=B":"x"}}"#, "env"), Bad(#"{"env":{"":"x"}}"#, "env"), Bad(#"{"cwd":"/\u0000"}"#, "cwd"),
        Bad(#"{"cwd":""}"#, "cwd"), Bad(#"{"args":["\u0000"]}"#, "args[0]"), Bad(#"{"target":"\u0000"}"#, "target"),
    ]

    @Test(arguments: tasks) func aBadTaskIsRefused(bad: Bad) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: bad.body)
        answer.expectProblem(400, code: "BadRequest", field: bad.field)
        #expect(try await world.redis.keys(of: queue).isEmpty)
        #expect(!world.scheduler.queues.contains(queue))
    }

    static let batches: [Bad] = [
        Bad("[]", "tasks"), Bad("{}", "tasks"), Bad(#"{"tasks":{}}"#, "tasks"), Bad(#"{"tasks":[]}"#, "tasks"),
        Bad("3", "body"), Bad(#"[{},3]"#, "tasks[1]"),
        Bad(#"[{},{},{},{"timeout_seconds":-1}]"#, "tasks[3].timeout_seconds"),
        Bad(#"[{"args":[1]}]"#, "tasks[0].args[0]"),
        Bad(#"[{},{},{},{"resources":{"cpu":"x"}}]"#, "tasks[3].resources.cpu"),
        Bad(#"[{"requires":["a","b c"]}]"#, "tasks[0].requires[1]"),
        Bad(#"[{},{"depends_on":["nobody"]}]"#, "tasks[1].depends_on"),
        Bad(#"[{"id":"a","depends_on":["b"]},{"id":"b","depends_on":["a"]}]"#, "depends_on"),
        Bad(#"[{"id":"a"},{"id":"b"},{"id":"a"}]"#, "tasks[2].id"), Bad(#"[{"id":"a/b"}]"#, "tasks[0].id"),
        Bad(#"{"tasks":[{}],"on_complete":{"priority":"x"}}"#, "on_complete.priority"),
        Bad(#"{"tasks":[{}],"on_complete":[]}"#, "on_complete"),
        Bad(#"{"tasks":[{}],"on_complete":{"depends_on":["a"]}}"#, "on_complete.depends_on"),
        Bad(#"{"tasks":[{}],"on_complete":{"unique_key":"a"}}"#, "on_complete.unique_key"),
        Bad(#"{"tasks":[{}],"on_complete":{"queue":"other"}}"#, "on_complete.queue"),
        Bad(#"{"tasks":[{}],"more":1}"#, "more"),
        Bad(#"{"tasks":[{}],"batch_id":"a b"}"#, "batch_id"), Bad(#"[{"queue":"elsewhere"}]"#, "tasks[0].queue"),
        Bad(#"[{"env":{"A":null}}]"#, "tasks[0].env.A"),
    ]

    @Test(arguments: batches) func aBadBatchIsRefused(bad: Bad) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: bad.body)
        answer.expectProblem(400, code: "BadRequest", field: bad.field)
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    @Test func aBadLineIsNamed() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let headers = [("Content-Type", "application/x-ndjson")]
        let path = "/scheduler/tasks?queue=\(queue)"
        try await world.ask(.POST, path, json: "{}\n{\"repo\"\n{}", headers: headers)
            .expectProblem(400, code: "BadRequest", field: "tasks[1]")
        try await world.ask(.POST, path, json: "{}\n{\"a\":1}", headers: headers)
            .expectProblem(400, code: "BadRequest", field: "tasks[1].a")
        try await world.ask(.POST, path, json: "\n \n", headers: headers)
            .expectProblem(400, code: "BadRequest", field: "tasks")
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    static let settings: [Bad] = [
        Bad(#"{"max_queue_length":0}"#, "max_queue_length"), Bad(#"{"max_queue_length":"1"}"#, "max_queue_length"),
        Bad(#"{"retention_seconds":-1}"#, "retention_seconds"), Bad(#"{"max_length":1}"#, "max_length"),
        Bad(#"{"paused":1}"#, "paused"), Bad(#"{"draining":"yes"}"#, "draining"),
        Bad(#"{"aging_seconds":-1}"#, "aging_seconds"), Bad(#"{"reserve_after_seconds":1e9}"#, "reserve_after_seconds"),
        Bad(#"{"default_timeout_seconds":0}"#, "default_timeout_seconds"),
    ]

    @Test(arguments: settings) func aBadSettingIsRefused(bad: Bad) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: bad.body)
            .expectProblem(400, code: "BadRequest", field: bad.field)
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    static let addresses: [(String, String)] = [
        ("/scheduler/task/a%20b", "task_id"), ("/scheduler/task/%2e%2e%2f", "task_id"),
        ("/scheduler/task/%7B%7D", "task_id"), ("/scheduler/task/a%00", "task_id"), ("/scheduler/task/%zz", "task_id"),
        ("/scheduler/task/" + String(repeating: "a", count: 201), "task_id"),
        ("/scheduler/task/a?queue=a%20b", "queue"), ("/scheduler/task/a?queue=", "queue"),
        ("/scheduler/task/a?wait=61", "wait"), ("/scheduler/task/a?wait=-1", "wait"),
        ("/scheduler/task/a?wait=nan", "wait"), ("/scheduler/task/a?wait=soon", "wait"),
        ("/scheduler/task/a?wiat=1", "wiat"), ("/scheduler/task/a?wait=1&wait=2", "wait"),
        ("/scheduler/tasks?state=done", "state"), ("/scheduler/tasks?priority=urgent", "priority"),
        ("/scheduler/tasks?limit=0", "limit"), ("/scheduler/tasks?limit=501", "limit"),
        ("/scheduler/tasks?limit=many", "limit"), ("/scheduler/tasks?cursor=x", "cursor"),
        ("/scheduler/tasks?worker=a%20b", "worker"), ("/scheduler/batch/a%20b", "batch_id"),
        ("/scheduler/stats?queue=%7B%7D", "queue"), ("/scheduler/workers?queue=a/b", "queue"),
    ]

    @Test(arguments: addresses) func aBadAddressIsRefused(path: String, field: String) async throws {
        let world = try await World.shared
        try await world.ask(.GET, path).expectProblem(400, code: "BadRequest", field: field)
    }

    @Test func aBodyThatIsTooLargeIsRefused() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        // The head is enough. A client that sends the body may see the closed connection before the response.
        let client = try await RawClient(world)
        try await client.send(
            "POST /scheduler/task?queue=\(queue) HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(10 << 20)\r\n\r\n")
        try await eventually("the response", within: .seconds(30)) { client.text.contains("}") }
        #expect(client.text.hasPrefix("HTTP/1.1 413 ") && client.text.contains(#""limit":\#(4 << 20)"#))
        await client.close()
        let payload = #"{"payload":""# + String(repeating: "x", count: 2 << 20) + #""}"#
        let task = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: payload)
        task.expectProblem(413, code: "BadRequest", field: "payload")
        #expect(task["limit"].int == 1 << 20)
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    @Test func bytesThatAreNoUTF8AreRefused() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let body = Array(#"{"repo":""#.utf8) + [0xC3, 0x28] + Array(#""}"#.utf8)
        try await world.ask(
            .POST, "/scheduler/task?queue=\(queue)", body: body, headers: [("Content-Type", "application/json")]
        ).expectProblem(400, code: "BadRequest", field: "body")
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    @Test func aBodyNeedNotBeCalledJSON() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        for type in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let answer = try await world.ask(
                .POST, "/scheduler/task?queue=\(queue)", body: Array("{}".utf8), headers: [("Content-Type", type)])
            #expect(answer.status == 201)
        }
    }

    @Test func theLastOfTwoEqualNamesCounts() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit(#"{"repo":"a","repo":"b"}"#, queue: queue)
        #expect(try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")["repo"].string == "b")
    }

    @Test func aBadIdempotencyKeyIsRefused() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        for key in ["", String(repeating: "k", count: 256)] {
            try await world.ask(
                .POST, "/scheduler/task?queue=\(queue)", json: "{}", headers: [("Idempotency-Key", key)]
            ).expectProblem(400, code: "BadRequest", field: "Idempotency-Key")
        }
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }

    @Test(arguments: ["%ff", "%c3%28", "%", "%4", "%4g", "%%"]) func aPathThatIsNoTextIsRefused(path: String) {
        #expect(throws: Problem.self) { try PercentEncoding.decoded(path, field: "task_id") }
    }
}
