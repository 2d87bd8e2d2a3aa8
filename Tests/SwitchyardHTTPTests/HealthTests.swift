import NIOHTTP1
import RedisClient
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Each test has its own replica, because health covers all the queues of a replica.
@Suite struct HealthTests {
    private func codes(_ answer: Answer) -> [String] {
        (0..<max(answer["reasons"].count, 0)).map { answer["reasons"][$0]["code"].string ?? "" }
    }

    @Test func healthFollowsWorkersAndTheQueuesLength() async throws {
        let shared = try await World.shared
        let queue = shared.newQueue()
        let world = try await World.start(redis: shared.redis, queues: [queue])
        let empty = try await world.ask(.GET, "/v2/health")
        #expect(empty.status == 200)
        #expect(empty["status"].string == "degraded")
        #expect(codes(empty) == ["no_workers"])

        _ = try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"max_queue_length":10}"#)
        _ = try await world.submit("{}", queue: queue)
        let stuck = try await world.ask(.GET, "/v2/health")
        #expect(stuck.status == 503)
        #expect(stuck["status"].string == "unhealthy")
        #expect(stuck["reasons"][0]["message"].string?.contains("1 task in line") == true)

        _ = try await world.worker(queue)
        let healthy = try await world.ask(.GET, "/v2/health")
        #expect(healthy.status == 200)
        #expect(healthy["status"].string == "healthy")
        #expect(healthy["reasons"].count == 0)

        for _ in 0..<7 { _ = try await world.submit("{}", queue: queue) }
        let backingUp = try await world.ask(.GET, "/v2/health")
        #expect(backingUp.status == 200)
        #expect(backingUp["status"].string == "degraded")
        #expect(codes(backingUp) == ["queue_backing_up"])
        await world.stop()
    }

    @Test func drainingWorkersAreCountedAndServeNoTasks() async throws {
        let shared = try await World.shared
        let queues = [shared.newQueue(), shared.newQueue()]
        let world = try await World.start(redis: shared.redis, queues: queues)
        _ = try await world.worker(queues[0], id: "a")
        _ = try await world.worker(queues[0], id: "b")
        _ = try await world.worker(queues[1], id: "c")
        func drain(_ id: String, _ queue: String) async throws {
            #expect(try await world.ask(.POST, "/scheduler/worker/\(id)/drain?queue=\(queue)").status == 200)
        }
        for (draining, (id, queue)) in [("a", queues[0]), ("c", queues[1])].enumerated() {
            let health = try await world.ask(.GET, "/v2/health")
            #expect(health["status"].string == "healthy" && health["workers"]["total"].int == 3)
            #expect(health["workers"]["draining"].int == draining)
            #expect(try await world.ask(.GET, "/scheduler/stats")["draining_workers"].int == draining)
            try await drain(id, queue)
        }
        try await drain("b", queues[0])
        let idle = try await world.ask(.GET, "/v2/health")
        #expect(idle.status == 200 && codes(idle) == ["workers_draining"])
        #expect(idle["workers"]["draining"].int == 3 && idle["workers"]["idle"].int == 0)
        _ = try await world.submit("{}", queue: queues[1])
        let stuck = try await world.ask(.GET, "/v2/health")
        #expect(stuck.status == 503 && stuck["status"].string == "unhealthy")
        #expect(stuck["reasons"][0]["message"].string == "all 3 registered workers are draining; 1 task in line")
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queues[0])")
        #expect(stats["draining_workers"].int == 2 && stats["total_workers"].int == 2)
        await world.stop()
    }

    @Test func aQueueWithoutWorkersBesideOneThatHasThemIsUnroutable() async throws {
        let shared = try await World.shared
        let queues = [shared.newQueue(), shared.newQueue()]
        let world = try await World.start(redis: shared.redis, queues: queues)
        _ = try await world.worker(queues[0])
        #expect(try await world.ask(.GET, "/v2/health")["status"].string == "healthy")
        _ = try await world.submit("{}", queue: queues[1])
        let answer = try await world.ask(.GET, "/v2/health")
        #expect(answer["status"].string == "degraded")
        #expect(codes(answer) == ["unroutable"])
        // A task whose requirements no worker meets is unroutable too.
        _ = try await world.ask(.DELETE, "/scheduler/queue/\(queues[1])?confirm=\(queues[1])")
        #expect(try await world.ask(.GET, "/v2/health")["status"].string == "healthy")
        _ = try await world.submit(#"{"requires":["gpu"]}"#, queue: queues[0])
        #expect(codes(try await world.ask(.GET, "/v2/health")) == ["unroutable"])
        await world.stop()
    }

    @Test func withoutRedisItIsUnhealthyAndNotReadyButAlive() async throws {
        let redis = try await RedisForTests.start()
        let world = try await World.start(redis: redis)
        #expect(try await world.ask(.GET, "/readyz").status == 200)
        try await redis.stop()
        let health = try await world.ask(.GET, "/v2/health")
        #expect(health.status == 503)
        #expect(codes(health) == ["redis_away"])
        let ready = try await world.ask(.GET, "/readyz")
        ready.expectProblem(503, code: "Internal")
        #expect(ready.headers.first(name: "Retry-After") != nil)
        #expect(try await world.ask(.GET, "/livez").status == 200)
        let task = try await world.ask(.GET, "/scheduler/task/a")
        task.expectProblem(503, code: "Internal")
        #expect(task["retry_after"].int != nil)
        await world.stop()
    }

    @Test func lostDataIsSaidLoudly() async throws {
        let redis = try await RedisForTests.start()
        let world = try await World.start(redis: redis, ticks: true)
        _ = try await world.submit("{}", queue: "default")
        try await eventually("the replica knows the instance") {
            world.scheduler.health.current["default"]?.instance?.isEmpty == false
        }
        _ = try await redis.client.send(RedisCommand("FLUSHDB"))
        _ = try await world.submit("{}", queue: "default")
        try await eventually("the replica sees another instance") {
            world.scheduler.health.current["default"]?.lostData == true
        }
        #expect(codes(try await world.ask(.GET, "/v2/health")).contains("data_lost"))
        await world.stop()
        try await redis.stop()
    }
}

/// What Redis itself does to tasks.
@Suite struct RedisHealthTests {
    private func codes(_ answer: Answer) -> [String] {
        (0..<max(answer["reasons"].count, 0)).map { answer["reasons"][$0]["code"].string ?? "" }
    }

    private func set(_ redis: RedisForTests, _ name: String, _ value: String) async throws {
        _ = try await redis.client.send(RedisCommand("CONFIG", "SET", .string(name), .string(value)))
    }

    /// Runs `body` with a replica that has looked at a server with these settings.
    private func withReplica(
        _ settings: [(String, String)], fill: Int = 0, _ body: (World, RedisForTests) async throws -> Void
    ) async throws {
        let redis = try await RedisForTests.start()
        for (name, value) in settings { try await set(redis, name, value) }
        if fill > 0 {
            _ = try await redis.client.send(RedisCommand("SETRANGE", "fill", .integer(Int64(fill)), "x"))
        }
        let world = try await World.start(redis: redis, ticks: true)
        _ = try await world.worker("default")
        try await eventually("the replica has looked at the server") {
            // Persistence is off in all these tests.
            world.scheduler.health.serverFindings.contains { $0.subject == "persistence" }
        }
        try await body(world, redis)
        await world.stop()
        try await redis.stop()
    }

    @Test(arguments: ["allkeys-lru", "volatile-ttl", "allkeys-random"])
    func aServerThatEvictsKeysDegrades(policy: String) async throws {
        try await withReplica([("maxmemory", "20mb"), ("maxmemory-policy", policy)]) { world, _ in
            let health = try await world.ask(.GET, "/v2/health")
            #expect(codes(health) == ["redis_eviction"])
            #expect(health["status"].string == "degraded")
            #expect(health["reasons"][0]["message"].string?.contains(policy) == true)
        }
    }

    @Test func aServerThatIsFullDegradesOnceItRefusesASubmission() async throws {
        try await withReplica([]) { world, redis in
            #expect(codes(try await world.ask(.GET, "/v2/health")) == [])
            try await set(redis, "maxmemory", "1mb")
            for _ in 1...3 {
                let refused = try await world.ask(.POST, "/scheduler/task", json: "{}")
                #expect(refused.status == 503)
            }
            let full = try await world.ask(.GET, "/v2/health")
            #expect(codes(full) == ["submissions_fail"])
            #expect(full["reasons"][0]["message"].string?.contains("maxmemory") == true)
            // A refusal for the content says nothing about Redis's memory.
            try await set(redis, "maxmemory", "0")
            _ = try await world.ask(.POST, "/scheduler/task", json: "{}")
            #expect(codes(try await world.ask(.GET, "/v2/health")) == [])
        }
    }

    @Test func aFullServerRefusesNewTasksAndServesTheRest() async throws {
        try await withReplica([]) { world, redis in
            let worker = try await world.worker("default")
            for id in ["a", "b", "c", "ended"] { _ = try await world.submit(#"{"id":"\#(id)"}"#, queue: "default") }
            #expect(try await world.ask(.DELETE, "/scheduler/task/ended").status == 200)
            #expect(try await worker.pull(max: 1, holding: 0).map(\.task.id) == ["a"])
            let pending = try await world.ask(.GET, "/scheduler/stats")["pending_tasks"].int
            try await set(redis, "maxmemory", "1")
            let many = "[" + Array(repeating: "{}", count: 600).joined(separator: ",") + "]"
            let refused: [(HTTPMethod, String, String?)] = [
                (.POST, "/scheduler/task", "{}"), (.POST, "/scheduler/task?queue=another", "{}"),
                (.POST, "/scheduler/tasks", "[{},{}]"), (.POST, "/scheduler/tasks", many),
                (.POST, "/scheduler/tasks", #"{"tasks":[{}],"on_complete":{}}"#),
                (.PUT, "/scheduler/schedule/s", #"{"cron":"0 0 * * *","task":{}}"#),
                (.POST, "/scheduler/task/ended/retry", nil),
            ]
            for (method, path, body) in refused {
                let answer = try await world.ask(method, path, json: body)
                answer.expectProblem(503, code: "Internal")
                #expect(answer["message"].string?.contains("maxmemory") == true, "\(path): \(answer.text)")
                #expect(answer.headers.first(name: "Retry-After") != nil)
                // A submission says that it may be made again without doubt.
                if path.hasPrefix("/scheduler/task?") || path.hasSuffix("/task") || path.hasSuffix("/tasks") {
                    #expect(answer["applied"] == false, "\(path): \(answer.text)")
                }
            }
            _ = try await worker.heartbeat([("a", 1, nil)])
            let report = WorkerClient.Report(taskID: "a", attempt: 1, outcome: .completed)
            #expect(try await worker.finish([report], pull: 1, holding: 1).assignments.map(\.task.id) == ["b"])
            let served: [(HTTPMethod, String, String?)] = [
                (.GET, "/scheduler/task/a", nil), (.GET, "/scheduler/tasks", nil), (.GET, "/scheduler/stats", nil),
                (.GET, "/scheduler/task/c/explain", nil), (.GET, "/scheduler/workers", nil),
                (.PATCH, "/scheduler/task/c", #"{"priority":"high"}"#), (.DELETE, "/scheduler/task/b", nil),
                (.POST, "/scheduler/queue/default/pause", nil), (.POST, "/scheduler/queue/default/resume", nil),
                (.PATCH, "/scheduler/queue/default", #"{"max_queue_length":10}"#),
                (.GET, "/scheduler/task/a/log", nil), (.GET, "/scheduler/schedules", nil),
                (.POST, "/scheduler/worker/w1/drain", nil), (.GET, "/readyz", nil),
            ]
            for (method, path, body) in served {
                let answer = try await world.ask(method, path, json: body)
                #expect(answer.status == 200, "\(path): \(answer.text)")
            }
            try await set(redis, "maxmemory", "0")
            // "b" was pulled, and of what was refused nothing is left.
            #expect(try await world.ask(.GET, "/scheduler/stats")["pending_tasks"].int == (pending ?? 0) - 1)
            #expect(try await redis.keys(of: "another").isEmpty)
            #expect(try await world.ask(.POST, "/scheduler/task", json: "{}").status == 201)
        }
    }

    /// A server without FCALL, as before version 7.0.
    @Test func aServerWithoutFunctionsEndsTheReplica() async throws {
        let redis = try await RedisForTests.start(arguments: ["--rename-command", "FCALL", ""])
        let scheduler = try TaskScheduler(client: redis.client, queues: ["q"])
        let error = await #expect(throws: SchedulerError.self) { try await scheduler.run() }
        #expect(error?.field == "redis")
        #expect(error?.message.contains("expected Redis 7.0") == true, "\(error?.message ?? "")")
        #expect(error?.message.contains("switchyard_version") == false)
        try await redis.stop()
    }

    @Test func aServerThatIsNearlyFullDegrades() async throws {
        try await withReplica([("maxmemory", "46000000")], fill: 40_000_000) { world, _ in
            let health = try await world.ask(.GET, "/v2/health")
            #expect(codes(health) == ["redis_memory"])
        }
    }

    /// Redis replies, but refuses: that is not "away".
    @Test(arguments: ["function", "config"]) func aRefusalOfRedisIsNamed(what: String) async throws {
        let redis = try await RedisForTests.start()
        if what == "function" {
            let foreign = "#!lua name=switchyard\nredis.register_function('relay_set', function() return 1 end)"
            _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", .string(foreign)))
        } else {
            _ = try await redis.client.send(RedisCommand("SET", "switchyard:{default}:config", "a string"))
        }
        let world = try await World.start(redis: redis, ticks: true)
        try await eventually("the replica has tried", within: .seconds(30)) {
            world.scheduler.health.current["default"]?.failure != nil
        }
        let health = try await world.ask(.GET, "/v2/health")
        #expect(health.status == 503)
        let found = codes(health).filter { ["redis_error", "not_served", "redis_away"].contains($0) }
        #expect(found == ["redis_error", "not_served"])
        let messages = (0..<health["reasons"].count).compactMap { health["reasons"][$0]["message"].string }
        let cause = what == "function" ? "FUNCTION DELETE" : "WRONGTYPE"
        #expect(messages.filter { $0.contains(cause) }.count == 2, "\(messages)")
        // It goes on once the cause is gone.
        _ = try await redis.client.send(
            what == "function"
                ? RedisCommand("FUNCTION", "DELETE", "switchyard")
                : RedisCommand("DEL", "switchyard:{default}:config"))
        try await eventually("the replica ticks", within: .seconds(30)) {
            world.scheduler.health.current["default"].map { $0.failure == nil && $0.lastTick != nil } == true
        }
        let later = try await world.ask(.GET, "/v2/health")
        #expect(later.status == 200)
        #expect(!codes(later).contains("not_served") && !codes(later).contains("redis_error"))
        await world.stop()
        try await redis.stop()
    }

    @Test func aReplicaThatCannotSubscribeSaysSoAndTriesAgain() async throws {
        let redis = try await RedisForTests.start()
        func allow(_ rule: String) async throws {
            _ = try await redis.client.send(RedisCommand("ACL", "SETUSER", "default", .string(rule)))
        }
        for rule in ["-subscribe", "resetchannels", "&switchyard:{default}:events"] { try await allow(rule) }
        let world = try await World.start(redis: redis, ticks: true)
        _ = try await world.worker("default")
        try await eventually("the health has the reason", within: .seconds(30)) {
            codes(try await world.ask(.GET, "/v2/health")).contains("reports_unheard")
        }
        for rule in ["allchannels", "+subscribe"] { try await allow(rule) }
        try await eventually("it listens", within: .seconds(30)) {
            let listeners = RedisCommand("PUBSUB", "NUMSUB", "switchyard:{default}:reports")
            return try await redis.client.send(listeners).array?.last?.int == 1
        }
        try await eventually("the health knows", within: .seconds(30)) {
            !codes(try await world.ask(.GET, "/v2/health")).contains("reports_unheard")
        }
        await world.stop()
        try await redis.stop()
    }

    @Test func aReplicaWhoseUserMayNotPublishIsNotReady() async throws {
        let redis = try await RedisForTests.start()
        _ = try await redis.client.send(
            RedisCommand("ACL", "SETUSER", "default", "resetchannels", "~*", "+@all"))
        let world = try await World.start(redis: redis, ticks: true)
        try await eventually("the replica has looked at the server") {
            world.scheduler.health.serverFindings.contains { $0.subject == "rights" }
        }
        let ready = try await world.ask(.GET, "/readyz")
        ready.expectProblem(503, code: "Internal")
        #expect(ready["detail"].string?.contains("PUBLISH switchyard:{default}:events") == true)
        let health = try await world.ask(.GET, "/v2/health")
        #expect(codes(health).contains("redis_rights"))
        #expect(try await world.ask(.POST, "/scheduler/task", json: "{}").status >= 500)
        #expect(try await redis.keys(of: "default").isEmpty)
        await world.stop()
        try await redis.stop()
    }
}
