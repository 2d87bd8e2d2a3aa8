import Logging
import RedisClient
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// A server in front of two Redis instances, over which its queues are spread.
@Suite(.serialized) struct PartitionTests {
    /// Both instances run until the test process ends.
    private static let starting = Task {
        let redis = [try await RedisForTests.start(), try await RedisForTests.start()]
        return (redis: redis, world: try await World.start(redis: redis[0], others: [redis[1]], ticks: true))
    }

    private func worker(_ queue: String, partition: Int, _ redis: [RedisForTests]) async throws -> WorkerClient {
        let worker = try WorkerClient(
            worker: "w1", queue: queue, partition: partition, client: redis[partition].client,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        _ = try await worker.register(.init(slots: 4))
        return worker
    }

    @Test func aSpreadQueueIsOneOverHTTP() async throws {
        let (redis, world) = try await Self.starting.value
        let queue = world.newQueue()
        var ids: [String] = []
        for n in 0..<20 { ids.append(try await world.submit(#"{"id":"t\#(n)","repo":"app"}"#, queue: queue)) }
        // Both instances have some of the tasks.
        let sizes = try await [
            redis[0].client.send(RedisCommand("ZCARD", "switchyard:{\(queue)}:pending")).int ?? 0,
            redis[1].client.send(RedisCommand("ZCARD", "switchyard:{\(queue)/1}:pending")).int ?? 0,
        ]
        #expect(sizes.reduce(0, +) == 20 && sizes.allSatisfy { $0 > 3 })
        for id in ids { #expect(try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)").status == 200) }
        try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: #"{"id":"t7"}"#)
            .expectProblem(409, code: "TaskExists")
        try await world.ask(.GET, "/scheduler/task/none?queue=\(queue)").expectProblem(404, code: "TaskNotFound")

        // The list contains the tasks of both, page by page.
        var listed: [String] = []
        var cursor: String?
        repeat {
            let page = try await world.ask(
                .GET, "/scheduler/tasks?queue=\(queue)&limit=6" + (cursor.map { "&cursor=\($0)" } ?? ""))
            #expect(page.status == 200)
            for index in 0..<page["tasks"].count { listed.append(page["tasks"][index]["task_id"].string ?? "") }
            cursor = page["cursor"].string
        } while cursor != nil
        #expect(listed.count == 20 && Set(listed) == Set(ids))

        let cancelled = try await world.ask(.DELETE, "/scheduler/task/t3?queue=\(queue)")
        #expect(cancelled["state"].string == "cancelled")
        let raised = try await world.ask(
            .PATCH, "/scheduler/task/t4?queue=\(queue)", json: #"{"priority":"critical"}"#)
        #expect(raised["priority"].string == "critical")
        #expect(try await world.ask(.POST, "/scheduler/task/t3/retry?queue=\(queue)")["state"].string == "pending")
        #expect(try await world.ask(.GET, "/scheduler/task/t5/explain?queue=\(queue)").status == 200)

        for partition in 0..<2 {
            let worker = try await worker(queue, partition: partition, redis)
            #expect(try await worker.pull(max: 1, holding: 0).count == 1)
        }
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["pending_tasks"].int == 18 && stats["running_tasks"].int == 2)
        #expect(stats["total_workers"].int == 1 && stats["slots"].int == 4)
        let workers = try await world.ask(.GET, "/scheduler/workers?queue=\(queue)")
        #expect(workers["workers"].count == 1 && workers["workers"][0]["busy_slots"].int == 2)
    }

    @Test func aBatchIsFollowedAndCancelledAsOne() async throws {
        let (_, world) = try await Self.starting.value
        let queue = world.newQueue()
        let body = #"{"batch_id":"b1","tasks":[{"id":"a"},{"id":"b","depends_on":["a"]},{}],"on_complete":{"id":"z"}}"#
        let added = try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: body)
        #expect(added.status == 201)
        for id in ["a", "b", try #require(added["tasks"][2]["task_id"].string)] {
            #expect(try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")["batch_id"].string == "b1")
        }
        try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: #"{"id":"a"}"#)
            .expectProblem(409, code: "TaskExists")
        try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: #"{"batch_id":"b2","tasks":[{"id":"b"}]}"#)
            .expectProblem(409, code: "TaskExists")
        #expect(try await world.ask(.GET, "/scheduler/batch/b1?queue=\(queue)")["total"].int == 3)
        #expect(try await world.ask(.DELETE, "/scheduler/batch/b1?queue=\(queue)")["cancelled"].int == 3)
        #expect(try await world.ask(.GET, "/scheduler/task/z?queue=\(queue)")["state"].string == "pending")
    }

    @Test func whatCannotHoldIsRefusedByName() async throws {
        let (_, world) = try await Self.starting.value
        let queue = world.newQueue()
        for (json, field) in [
            (#"{"unique_key":"a","concurrency_key":"b"}"#, "concurrency_key"),
            (#"{"rate_key":"a","resources":{"cpu":1}}"#, "resources"),
        ] {
            try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: json)
                .expectProblem(400, code: "BadRequest", field: field)
        }
        let batch = #"[{"unique_key":"a"},{"unique_key":"b"}]"#
        try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: batch)
            .expectProblem(400, code: "BadRequest", field: "tasks[1].unique_key")
        try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"max_queue_length":1}"#)
            .expectProblem(400, code: "BadRequest", field: "max_queue_length")
        let settings = try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"max_queue_length":9}"#)
        #expect(settings["max_queue_length"].int == 9)
        #expect(try await world.ask(.POST, "/scheduler/queue/\(queue)/pause")["paused"] == .bool(true))
    }

    @Test func healthIsDegradedWhileOneOfTheInstancesIsAway() async throws {
        let redis = [try await RedisForTests.start(), try await RedisForTests.start()]
        let world = try await World.start(redis: redis[0], others: [redis[1]])
        #expect(try await world.ask(.GET, "/readyz").status == 200)
        try await redis[1].stop()
        let health = try await world.ask(.GET, "/v2/health")
        #expect(health.status == 200 && health["status"].string == "degraded")
        #expect(health["reasons"][0]["code"].string == "redis_away")
        #expect(try await world.ask(.GET, "/readyz").status == 200)
        try await redis[0].stop()
        #expect(try await world.ask(.GET, "/v2/health").status == 503)
        #expect(try await world.ask(.GET, "/readyz").status == 503)
        await world.stop()
    }
}
