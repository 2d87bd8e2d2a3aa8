import Logging
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Every queue is looked after by every replica, whoever created it and whatever happened to Redis since.
@Suite("Which queues a replica serves")
struct QueueDiscoveryTests {
    /// How a queue comes to exist.
    enum Creation: String, CaseIterable, CustomTestStringConvertible {
        case handle, function, batch, schedule, worker, setting

        var testDescription: String { rawValue }
    }

    private func create(_ name: String, _ creation: Creation, on redis: TestRedis) async throws {
        let handle = try SchedulerHandle(queue: name, client: redis.client, logger: TestRedis.quiet)
        let queue = TestQueue(name, handle: handle, on: redis)
        switch creation {
        case .handle:
            var task = QueuedTask(BuildRequest(), id: "first")
            task.delay = .milliseconds(1)
            _ = try await handle.addTask(task)
        case .function: try await queue.call("submit", "task", "first", "delay_ms", "1")
        case .batch: try await queue.call("submit", "batch", "b", "task", "first", "task", "second")
        case .schedule:
            try await queue.call(
                "schedule", "schedule", "s", "cron", "* * * * *", "zone", "UTC", "next", "99999999999999", "template",
                #"["task","x"]"#)
        case .worker: try await queue.call("register", "worker", "w", "slots", "1")
        case .setting: try await queue.call("configure", "max_queue_length", "7")
        }
    }

    private func registered(_ redis: TestRedis) async throws -> Set<String> {
        let reply = try await redis.client.send(RedisCommand("SMEMBERS", "switchyard:queues"))
        return Set((reply.array ?? []).compactMap(\.string))
    }

    @Test(arguments: Creation.allCases)
    func aQueueIsKnownFromItsFirstWrite(creation: Creation) async throws {
        try await TestRedis.run { redis in
            for round in 1...3 {
                try await create("builds", creation, on: redis)
                try await create("other.\(round)", creation, on: redis)
                #expect(try await registered(redis) == ["builds", "other.\(round)"])
                // A handle and a queue of the library's cache that were used before the loss.
                _ = try await redis.client.send(RedisCommand("FLUSHALL"))
                #expect(try await registered(redis).isEmpty)
            }
        }
    }

    @Test func aHandleThatLivedThroughALossMakesItsQueueKnownAgain() async throws {
        try await TestRedis.run { redis in
            let handle = try SchedulerHandle(queue: "builds", client: redis.client, logger: TestRedis.quiet)
            for _ in 1...3 {
                _ = try await handle.addTask(QueuedTask(BuildRequest()))
                #expect(try await registered(redis) == ["builds"])
                _ = try await redis.client.send(RedisCommand("FLUSHALL"))
            }
        }
    }

    @Test func aReplicaTicksAQueueThatItWasNotGiven() async throws {
        try await TestRedis.run { redis in
            let replica = try TaskScheduler(client: redis.makeClient(), queues: ["default"], logger: TestRedis.quiet)
            try await running(replica) {
                for (name, creation) in [("builds", Creation.function), ("media", .handle)] {
                    try await create(name, creation, on: redis)
                    let handle = try SchedulerHandle(queue: name, client: redis.client, logger: TestRedis.quiet)
                    let isReleased = try await eventually(within: .seconds(20)) {
                        try await handle.getTask("first").heldBy == nil
                    }
                    #expect(isReleased, "nobody ticks \(name)")
                }
            }
        }
    }

    @Test(arguments: [["bad name!"], ["", "ü", "zz"] + (0..<50).map { "bad \($0)" }])
    func aNameThatIsInvalidStopsNoOther(names: [String]) async throws {
        try await TestRedis.run { redis in
            _ = try await redis.client.send(RedisCommand("SADD", ["switchyard:queues"], names.map { .string($0) }))
            try await create("zoo", .function, on: redis)
            try await create("aaa", .function, on: redis)
            let replica = try TaskScheduler(client: redis.makeClient(), logger: TestRedis.quiet)
            try await running(replica) {
                let isServed = try await eventually(within: .seconds(20)) {
                    replica.queues.contains("zoo") && replica.queues.contains("aaa")
                }
                #expect(isServed, "serves \(replica.queues)")
            }
        }
    }

    // MARK: Settings

    @Test(arguments: [1, 3])
    func theSettingsOfAReplicaAreWrittenAgainAfterALoss(losses: Int) async throws {
        try await TestRedis.run { redis in
            var config = SchedulerConfig()
            config.maxQueueLength = 7
            config.defaultMaxRetries = 0
            let replica = try TaskScheduler(
                client: redis.client, queues: ["default", "second"], config: config, logger: TestRedis.quiet)
            try await running(replica) {
                for _ in 0...losses {
                    for name in ["default", "second"] {
                        let handle = try replica.handle(queue: name)
                        let isLimited = try await eventually {
                            let found = try await handle.configure([])
                            return found["max_queue_length"] == 7 && found["default_max_retries"] == 0
                        }
                        #expect(isLimited, "\(name) lacks the settings")
                    }
                    _ = try await redis.client.send(RedisCommand("FLUSHALL"))
                }
            }
        }
    }

    @Test func aSettingThatWasChangedSinceTheStartIsKept() async throws {
        try await TestRedis.run { redis in
            var config = SchedulerConfig()
            config.maxQueueLength = 7
            let replica = try TaskScheduler(client: redis.makeClient(), config: config, logger: TestRedis.quiet)
            try await running(replica) {
                let handle = try replica.handle(queue: "default")
                #expect(try await eventually { try await handle.configure([])["max_queue_length"] == 7 })
                try await handle.configure([("max_queue_length", 9)])
                let before = replica.health.current["default"]?.lastTick
                #expect(try await eventually { replica.health.current["default"]?.lastTick != before })
                #expect(try await eventually { replica.health.current["default"]?.lastTick != before })
                #expect(try await handle.configure([])["max_queue_length"] == 9)
            }
        }
    }

    private func running(_ replica: TaskScheduler, _ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await replica.run() }
            try await body()
            group.cancelAll()
        }
    }
}
