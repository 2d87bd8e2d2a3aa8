import RedisClient
import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct StatsTests {
    @Test func theStatsHaveEveryDocumentedName() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.submit(#"{"priority":"high"}"#, queue: queue)
        _ = try await world.submit(#"{"priority":"low"}"#, queue: queue)
        _ = try await world.submit(#"{"delay_seconds":60}"#, queue: queue)
        let one = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(one.status == 200)
        let names = [
            "pending_tasks", "assigned_tasks", "running_tasks", "completed_tasks", "failed_tasks", "timeout_tasks",
            "cancelled_tasks", "total_workers", "idle_workers", "busy_workers", "queue_full_errors",
            "oldest_pending_seconds", "unroutable_tasks", "desired_workers", "by_priority", "queues",
        ]
        #expect(names.allSatisfy(one.json.names.contains))
        #expect(one["pending_tasks"].int == 3)
        #expect(one["ready_tasks"].int == 2)
        #expect(one["held_tasks"].int == 1)
        #expect(one["unroutable_tasks"].int == 2)
        #expect(one["desired_workers"].int == 2)
        #expect(one["by_priority"]["high"].int == 1)
        #expect(one["by_priority"]["critical"].int == 0)
        #expect(one["queues"].names == [queue])
        #expect(one["queues"][queue]["paused"] == false)

        let worker = try await world.worker(queue)
        _ = try await worker.pull(max: 1, holding: 0)
        let busy = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(busy["running_tasks"].int == 1)
        #expect(busy["total_workers"].int == 1)
        #expect(busy["unroutable_tasks"].int == 0)
    }

    @Test func theTotalsCoverTheQueuesOfTheReplica() async throws {
        let shared = try await World.shared
        let queues = [shared.newQueue(), shared.newQueue()]
        let world = try await World.start(redis: shared.redis, queues: queues)
        for queue in queues { _ = try await world.submit("{}", queue: queue) }
        let stats = try await world.ask(.GET, "/scheduler/stats")
        #expect(stats["pending_tasks"].int == 2)
        #expect(Set(stats["queues"].names) == Set(queues))
        await world.stop()
    }

    /// One queue whose keys have a wrong type does not hide the others.
    @Test(arguments: ["config", "leases", "workers"]) func aDamagedQueueIsLeftOut(key: String) async throws {
        let shared = try await World.shared
        let queues = [shared.newQueue(), shared.newQueue(), shared.newQueue()]
        let world = try await World.start(redis: shared.redis, queues: queues)
        for queue in queues { _ = try await world.submit("{}", queue: queue) }
        let client = shared.redis.client
        let damaged = "switchyard:{\(queues[1])}:\(key)"
        _ = try await client.pipeline([
            RedisCommand("DEL", .string(damaged)), RedisCommand("SET", .string(damaged), "x"),
        ])
        for path in ["stats", "workers", "autoscale", "schedules"] {
            let answer = try await world.ask(.GET, "/scheduler/\(path)")
            #expect(answer.status == 200, "\(path): \(answer.json.text)")
        }
        let names = try await world.ask(.GET, "/scheduler/stats")["queues"].names
        #expect(Set(names).isSuperset(of: [queues[0], queues[2]]))
        _ = try await client.send(RedisCommand("DEL", .string(damaged)))
        await world.stop()
    }

    @Test func workersAreListedAndDrained() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let worker = try await world.worker(queue, id: "builder:1", slots: 3)
        _ = try await world.submit("{}", queue: queue)
        _ = try await worker.pull(max: 1, holding: 0)
        let list = try await world.ask(.GET, "/scheduler/workers?queue=\(queue)")
        #expect(list["workers"].count == 1)
        let shown = list["workers"][0]
        #expect(shown["worker_id"].string == "builder:1")
        #expect(shown["queue"].string == queue)
        #expect(shown["slots"].int == 3)
        #expect(shown["busy_slots"].int == 1)
        #expect(shown["draining"] == false)
        #expect(shown["labels"][0].string == "os=linux")
        #expect(shown["last_assigned_at"].string?.hasSuffix("Z") == true)

        let drained = try await world.ask(.POST, "/scheduler/worker/builder%3A1/drain?queue=\(queue)")
        #expect(drained.status == 200)
        #expect(try await world.ask(.GET, "/scheduler/workers?queue=\(queue)")["workers"][0]["draining"] == true)
        #expect(try await worker.heartbeat([]).drain)
        try await world.ask(.POST, "/scheduler/worker/none/drain?queue=\(queue)")
            .expectProblem(404, code: "WorkerNotFound")
    }

    @Test func aQueueIsPausedResumedAndSet() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        let worker = try await world.worker(queue)
        let paused = try await world.ask(.POST, "/scheduler/queue/\(queue)/pause")
        #expect(paused.status == 200)
        #expect(paused["paused"] == true)
        #expect(try await worker.pull(max: 1, holding: 0).isEmpty)
        #expect(try await world.ask(.GET, "/scheduler/task/\(id)?queue=\(queue)")["held_by"].string == "paused")
        #expect(try await world.ask(.POST, "/scheduler/queue/\(queue)/resume")["paused"] == false)
        #expect(try await worker.pull(max: 1, holding: 0).count == 1)

        let settings = try await world.ask(
            .PATCH, "/scheduler/queue/\(queue)",
            json: #"{"max_queue_length":1,"retry_delay_seconds":0.25,"retention_seconds":60}"#)
        #expect(settings.status == 200)
        #expect(settings["max_queue_length"].int == 1)
        #expect(settings["retry_delay_seconds"] == .number("0.25"))
        #expect(settings["retry_delay_max_seconds"].int == 300)
        _ = try await world.submit("{}", queue: queue)
        let full = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: "{}")
        full.expectProblem(429, code: "QueueFull")
        #expect(full["limit"].int == 1)
        #expect(try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: "{}")["max_queue_length"].int == 1)
    }
}
