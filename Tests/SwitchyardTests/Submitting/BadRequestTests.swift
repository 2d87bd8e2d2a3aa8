import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Bad requests")
struct BadRequestTests {
    struct Call: Sendable, CustomTestStringConvertible {
        var function: String
        var arguments: [String]
        init(_ function: String, _ arguments: String...) {
            self.init(function, arguments)
        }
        init(_ function: String, _ arguments: [String]) {
            self.function = function
            self.arguments = arguments
        }
        var testDescription: String { ([function] + arguments).joined(separator: " ").prefix(100).description }
    }

    static let long = String(repeating: "x", count: 201)

    static let calls: [Call] = [
        Call("submit"), Call("submit", "task"), Call("submit", "task", ""), Call("submit", "task", "a b"),
        Call("submit", "task", "ü"), Call("submit", "task", long), Call("submit", "task", "n", "task", "n"),
        Call("submit", "priority", "high"), Call("submit", "task", "n", "priority", "urgent"),
        Call("submit", "task", "n", "timeout_ms", "0"), Call("submit", "task", "n", "timeout_ms", "-5"),
        Call("submit", "task", "n", "timeout_ms", "1e4"), Call("submit", "task", "n", "max_retries", "101"),
        Call("submit", "task", "n", "max_retries", "two"), Call("submit", "task", "n", "delay_ms", "0.5"),
        Call("submit", "task", "n", "run_at", "tomorrow"), Call("submit", "batch", "b b", "task", "n"),
        Call("submit", "task", "n", "task", "m", "priority", "x"),
        Call("submit", ["task", "n"] + Array(repeating: ["repo", "r"], count: 4000).flatMap { $0 }),
        Call("pull"), Call("pull", "worker", ""), Call("pull", "worker", "a b"), Call("pull", "worker"),
        Call("pull", "worker", "holder", "max", "101"), Call("pull", "worker", "holder", "max", "x"),
        Call("pull", "worker", "holder", "holding", "-1"), Call("pull", "worker", "holder", "max_bytes", "0"),
        Call("pull", "worker", "holder", "max_bytes", "1048577"), Call("pull", "worker", "holder", "max_bytes", "1e3"),
        Call(
            "finish", "worker", "holder", "pull", "1", "max_bytes", "", "task", "r", "attempt", "1", "outcome",
            "completed"), Call("configure", "database", "-1"), Call("configure", "database", "x"),
        Call("start", "worker", "holder"), Call("start", "task", "r", "attempt", "1"),
        Call("start", "worker", "holder", "task", "a"), Call("start", "worker", "holder", "task", "a", "attempt", "0"),
        Call("start", "worker", "holder", "task", "a", "attempt", "one"),
        Call("heartbeat"), Call("heartbeat", "worker", "holder", "task", "r"),
        Call("heartbeat", "worker", "holder", "task", "r", "attempt", ""),
        Call("finish", "worker", "holder"), Call("finish", "worker", "holder", "task", "r", "outcome", "completed"),
        Call("finish", "worker", "holder", "task", "r", "attempt", "1"),
        Call("finish", "worker", "holder", "task", "r", "attempt", "1", "outcome", "cancelled"),
        Call("finish", "worker", "holder", "task", "r", "attempt", "1", "outcome", "lost"),
        Call("finish", "worker", "holder", "task", "r", "attempt", "1", "outcome", "failed", "exit_code", "x"),
        Call("finish", "worker", "holder", "pull", "101", "task", "r", "attempt", "1", "outcome", "completed"),
        Call("finish", "task", "r", "attempt", "1", "outcome", "completed"),
        Call(
            "finish", "worker", "holder", "task", "r", "attempt", "1", "outcome", "completed", "task", "a", "attempt",
            "1"),
        Call("release", "worker", "holder"), Call("release", "worker", "holder", "task", "a", "attempt", "-1"),
        Call("cancel"), Call("cancel", "task", ""), Call("cancel", "task", "p", "task", "p"),
        Call("cancel", "reason", String(repeating: "x", count: 1025), "task", "p"),
        Call("retry"), Call("retry", "task", "*"), Call("purge"), Call("purge", "task", "{}"),
        Call("get"), Call("get", "task", "a\nb"), Call("batch"), Call("batch", "batch", "a/b"),
        Call("list", "state", "done"), Call("list", "priority", "x"), Call("list", "limit", "0"),
        Call("list", "limit", "501"), Call("list", "cursor", "x"), Call("workers", "limit", "0"), Call("workers", "x"),
        Call("register"), Call("register", "worker", "w", "slots", "0"),
        Call("register", "worker", "w", "slots", "1001"),
        Call("register", "worker", "w", "protocol", "2"), Call("register", "worker", "w w"),
        Call("register", "worker", "w", "labels", String(repeating: "x", count: 4097)),
        Call("deregister"), Call("deregister", "worker", "?"), Call("drain"), Call("drain", "worker", "ä"),
        Call("log"), Call("log", "worker", "holder"), Call("log", "worker", "holder", "task", "r", "stdout", "x"),
        Call("log", "worker", "holder", "task", "r", "attempt", "1", "stdout", String(repeating: "x", count: 65537)),
        Call("log", "worker", "holder", "task", "r", "attempt", "1", "task", "a", "attempt", "1", "stdout", "x"),
        Call("tick", "limit", "0"), Call("tick", "limit", "1001"), Call("tick", "limit"), Call("stats", "x"),
        Call("reconcile", "limit", "0"), Call("reconcile", "limit", "1001"), Call("reconcile", "cursor", "workers"),
        Call("reconcile", "cursor", "held -1"),
        Call("submit", "task", "n", "concurrency_key", ""), Call("submit", "task", "n", "unique_key", "a\u{7}b"),
        Call("submit", "task", "n", "fairness_key", long), Call("submit", "batch", "b", "stage", "a b", "task", "n"),
        Call("submit", "stage", "s", "task", "n"), Call("open_batch"), Call("open_batch", "batch", "b/b"),
        Call("open_batch", "batch", "b", "limit", "501"), Call("open_batch", "batch", "b", "stage", "a b"),
        Call("abandon_batch"), Call("abandon_batch", "batch", "b", "limit", "0"), Call("demand", "cursor", "x"),
        Call("register", "worker", "w", "nonce", "a b"), Call("register", "worker", "w", "nonce", long),
        Call("register", "worker", "w", "only", "a b"), Call("configure", "max_finished", "-1"),
    ]

    @Test func aBadRequestIsRefusedByNameAndChangesNothing() async throws {
        try await TestQueue.run { queue in
            try await queue.put("a", in: .assigned)
            try await queue.put("r", in: .running)
            try await queue.submit("p")
            let before = try await queue.snapshot()
            for call in Self.calls {
                let code = try await refusal {
                    try await queue.call(call.function, call.arguments.map { .string($0) })
                }
                // `stats` reads no arguments.
                if call.function != "stats" { #expect(code == "BADREQUEST", "\(call.testDescription)") }
                let changes = try await queue.snapshot().changes(since: before)
                #expect(changes == [], "\(call.testDescription)")
            }
        }
    }

    @Test func aKeyThatIsNoQueueIsRefusedByEveryFunction() async throws {
        let redis = try await TestRedis.shared
        _ = try await TestQueue()
        let list = try await redis.client.send(RedisCommand("FUNCTION", "LIST", "LIBRARYNAME", "switchyard"))
        let functions = list[0]?.pairs["functions"]?.array?.compactMap { $0.pairs["name"]?.string } ?? []
        #expect(functions.count > 30)
        // The version belongs to no queue.
        for function in functions.sorted() where function != "switchyard_version" {
            for keys in [
                [], ["x"], ["switchyard:{}:"], ["switchyard:{a b}:"], ["switchyard:{a}:task:t"], ["switchyard:{a}"],
                ["switchyard:{\(Self.long)}:"], ["switchyard:{a}:", "switchyard:{a}:"],
                ["switchyard:{a}:", "switchyard:{b}:config"],
                ["switchyard:{a}:", "switchyard:{a}:config", "switchyard:{a}:pending"],
            ] {
                let arguments =
                    [.string(function), .integer(Int64(keys.count))]
                    + keys.map { RedisArgument.string($0) }
                try await expectRefusal("BADREQUEST") {
                    _ = try await redis.client.send(RedisCommand("FCALL", arguments))
                }
            }
        }
    }

    @Test func tooManyTasksInOneCallAreRefused() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            let tasks: [RedisArgument] = (0..<1001).flatMap { ["task", .string("t\($0)")] as [RedisArgument] }
            try await expectRefusal("BADREQUEST") { try await queue.call("submit", tasks) }
            try await queue.call("submit", Array(tasks.dropLast(2)))
            #expect(try await queue.stats().ready == 1000)
            let reply = try await queue.call("cancel", Array(tasks.dropLast(2)))
            #expect(reply.array?.count == 1000)
        }
    }

    @Test func unknownArgumentsAreIgnored() async throws {
        try await TestQueue.run { queue in
            try await queue.call("submit", "newer", "1", "task", "t", "newest", "2")
            #expect(try await queue.snapshot().task("t")["newest"] == nil)
        }
    }

    @Test func aBadNameNeverReachesRedis() async throws {
        let redis = try await TestRedis.shared
        for name in ["", "a b", "ü", "a{b}", Self.long, "a\nb"] {
            #expect(throws: SchedulerError.self) { try SchedulerHandle(queue: name, client: redis.client) }
            #expect(throws: SchedulerError.self) {
                try WorkerClient(worker: name, queue: "q", client: redis.client, logger: .silent)
            }
            try await TestQueue.run { queue in
                try await expectError("BadRequest") { _ = try await queue.handle.getTask(name) }
                try await expectError("BadRequest") {
                    _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .low, id: name))
                }
            }
        }
    }
}
