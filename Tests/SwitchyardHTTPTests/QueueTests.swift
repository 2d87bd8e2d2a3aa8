import JSON
import RedisClient
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Operations on a whole queue.
@Suite struct QueueTests {
    @Test func aDrainingQueueTakesNoTasksAndGivesOutThoseItHas() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.submit("{}", queue: queue)
        let drained = try await world.ask(.POST, "/scheduler/queue/\(queue)/drain")
        #expect(drained.status == 200)
        #expect(drained["draining"] == true)
        #expect(drained["paused"] == false)
        let refused = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: "{}")
        refused.expectProblem(409, code: "QueueDraining")
        #expect(refused["message"].string?.contains("draining") == true)
        #expect(try await world.worker(queue).pull(max: 1, holding: 0).count == 1)
        _ = try await world.ask(.POST, "/scheduler/queue/\(queue)/pause")
        let resumed = try await world.ask(.POST, "/scheduler/queue/\(queue)/resume")
        #expect(resumed["draining"] == false)
        #expect(resumed["paused"] == false)
        _ = try await world.submit("{}", queue: queue)
    }

    @Test func theSettingsAreShownWithoutMakingTheQueue() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let shown = try await world.ask(.GET, "/scheduler/queue/\(queue)")
        #expect(shown.status == 200)
        #expect(shown["queue"].string == queue)
        #expect(shown["aging_seconds"].int == 0)
        #expect(shown["reserve_after_seconds"].int == 10)
        #expect(try await world.redis.keys(of: queue).isEmpty)
        #expect(!world.scheduler.queues.contains(queue))
        let set = try await world.ask(
            .PATCH, "/scheduler/queue/\(queue)",
            json: #"{"aging_seconds":30,"reserve_after_seconds":0.5,"draining":true}"#)
        #expect(set["aging_seconds"].int == 30)
        #expect(set["reserve_after_seconds"] == .number("0.5"))
        #expect(try await world.ask(.GET, "/scheduler/queue/\(queue)")["draining"] == true)
    }

    @Test func everySettingOfTheTableIsShownChangedAndChecked() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let shown = try await world.ask(.GET, "/scheduler/queue/\(queue)")
        // What a queue gives to its tasks, a task may have.
        #expect(QueueSetting.named("default_timeout")?.range == TaskInput.timeoutMilliseconds)
        #expect(QueueSetting.named("default_max_retries")?.range == TaskInput.retries)
        for setting in QueueSetting.all {
            guard setting.scope == .queue else {
                #expect(shown[setting.field] == .null, "\(setting.name)")
                continue
            }
            let (standard, least, above): (JSONValue, JSONValue, JSONValue) =
                switch setting.kind {
                case .count, .size:
                    (
                        JSONValue(setting.defaultValue), JSONValue(setting.range.lowerBound),
                        JSONValue(setting.range.upperBound + 1)
                    )
                case .duration:
                    (
                        JSONValue(.milliseconds(setting.defaultValue)),
                        JSONValue(.milliseconds(setting.range.lowerBound)),
                        JSONValue(.milliseconds(setting.range.upperBound + 1))
                    )
                case .flag: (.bool(false), .bool(true), .number("1"))
                }
            #expect(shown[setting.field] == standard, "\(setting.name)")
            try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: "{\"\(setting.field)\":\(above.shown)}")
                .expectProblem(400, code: "BadRequest", field: setting.field)
            // The least lease needs a shorter heartbeat.
            let with = setting.name == "lease" ? #","heartbeat_seconds":0.02"# : ""
            let changed = try await world.ask(
                .PATCH, "/scheduler/queue/\(queue)", json: "{\"\(setting.field)\":\(least.shown)\(with)}")
            #expect(changed[setting.field] == least, "\(setting.name)")
        }
    }

    @Test func agingIsNotChangedWhileTasksWait() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.submit("{}", queue: queue)
        try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"aging_seconds":30}"#)
            .expectProblem(400, code: "BadRequest", field: "aging_seconds")
    }

    @Test func aPurgeEmptiesTheQueueThatIsNamedTwice() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let worker = try await world.worker(queue)
        let tasks =
            (0..<300).map { #"{"id":"t\#($0)"}"# } + [
                #"{"delay_seconds":60}"#, #"{"depends_on":["t0"]}"#, #"{"requires":["gpu"]}"#,
            ]
        let batch = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)", json: "[" + tasks.joined(separator: ",") + "]")
        #expect(batch.status == 201)
        _ = try await worker.pull(max: 2, holding: 0)
        for confirm in ["", "?confirm=", "?confirm=other"] {
            try await world.ask(.DELETE, "/scheduler/queue/\(queue)\(confirm)")
                .expectProblem(400, code: "BadRequest", field: "confirm")
        }
        #expect(try await world.ask(.DELETE, "/scheduler/queue/\(queue)?confirm=\(queue)").status == 200)
        let list = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)")
        #expect(list["tasks"].count == 0)
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["pending_tasks"].int == 0)
        #expect(stats["running_tasks"].int == 0)
        #expect(try await worker.heartbeat([("t0", 1, nil)]).stop.count == 1)
    }

    /// A mistyped name in a request that is refused leaves no queue behind.
    @Test(arguments: [
        ("/scheduler/task", #"{"if_no_workers":"reject"}"#, 503), ("/scheduler/task", #"{"depends_on":["x"]}"#, 400),
        ("/scheduler/tasks", #"{"tasks":[{"id":"a","depends_on":["b"]},{"id":"b","depends_on":["a"]}]}"#, 400),
    ])
    func aRefusedRequestMakesNoQueue(path: String, json: String, status: Int) async throws {
        let world = try await World.start(redis: RedisForTests.start())
        let queue = world.newQueue()
        for _ in 0..<2 {
            let refused = try await world.ask(.POST, "\(path)?queue=\(queue)", json: json)
            #expect(refused.status == status, "\(refused.text)")
        }
        let schedule = try await world.ask(
            .PUT, "/scheduler/schedule/s?queue=\(queue)", json: #"{"cron":"never","task":{}}"#)
        #expect(schedule.status == 400)
        let setting = try await world.ask(
            .PATCH, "/scheduler/queue/\(queue)", json: #"{"heartbeat_seconds":100,"lease_seconds":10}"#)
        #expect(setting.status == 400)
        func queues() async throws -> [String] { try await world.ask(.GET, "/scheduler/stats")["queues"].names }
        #expect(try await queues() == ["default"])
        #expect(try await world.redis.keys(of: queue).isEmpty)
        #expect(try await world.scheduler.handle(queue: queue).exists() == false)
        // An accepted one makes it, for every replica.
        _ = try await world.submit("{}", queue: queue)
        #expect(try await queues() == ["default", queue].sorted())
        let known = try await world.redis.client.send(RedisCommand("SMEMBERS", "switchyard:queues"))
        #expect(known.array?.compactMap(\.string).contains(queue) == true)
        await world.stop()
    }
}
