import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("When something dies")
struct CrashTests {
    /// Kills redis-server with SIGKILL twice while tasks are processed.
    private func crashTwice(_ durability: TestRedis.Durability) async throws -> (
        load: Load, lastCrash: ContinuousClock.Instant
    ) {
        try await TestRedis.run(durability) { redis in
            let load = Load(queue: try await TestQueue(on: redis, settings: Load.settings))
            var lastCrash = ContinuousClock.now
            try await load.run { _ in
                for _ in 0..<2 {
                    try await Task.sleep(for: .milliseconds(700))
                    lastCrash = .now
                    await redis.kill()
                    try await Task.sleep(for: .milliseconds(200))
                    try await redis.restart()
                }
                try await Task.sleep(for: .milliseconds(300))
            }
            // With everysec, writes of the last two seconds before the crash may be lost.
            var limit: ContinuousClock.Instant?
            if case .everySecond = durability { limit = lastCrash - .seconds(2) }
            let unended = try await load.unended(before: limit)
            #expect(unended == [])
            #expect(load.acknowledged.value.count > 50)
            // Acceptance is exactly once: no two attempts of a task were both accepted.
            #expect(load.accepted.value.filter { $0.value.count > 1 }.isEmpty)
            let snapshot = try await load.queue.snapshot()
            #expect(snapshot.hash("stats")["repaired"] == nil)
            return (load, lastCrash)
        }
    }

    @Test func everyAcknowledgedTaskEndsThoughRedisIsKilledWithFsyncAlways() async throws {
        _ = try await crashTwice(.always)
    }

    @Test func everyOlderTaskEndsThoughRedisIsKilledWithFsyncEverySecond() async throws {
        _ = try await crashTwice(.everySecond)
    }

    @Test func nobodyNoticesWhenReplicasStop() async throws {
        try await TestRedis.run { redis in
            let load = Load(queue: try await TestQueue(on: redis, settings: Load.settings))
            try await load.run { stopReplica in
                for replica in 0..<3 {
                    try await Task.sleep(for: .milliseconds(300))
                    stopReplica(replica)
                }
                // No replica is left: tasks are still submitted, pulled and finished.
                let before = load.accepted.value.count
                let goesOn = try await eventually { load.accepted.value.count > before + 20 }
                #expect(goesOn)
            }
            #expect(try await load.unended() == [])
            try await load.queue.snapshot()
        }
    }

    @Test func aSilentWorkersTaskRunsElsewhereWithinItsLeaseAndASecond() async throws {
        let settings = ["lease_ms": 1000, "heartbeat_ms": 300, "retry_delay_ms": 0]
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis, settings: settings)
            let replica = try TaskScheduler(client: redis.makeClient(), queues: [queue.name], logger: .silent)
            let replicaTask = Task { try await replica.run() }
            let silent = try await queue.worker("silent")
            try await queue.submit("t")
            #expect(try await silent.pull(max: 1, holding: 0).count == 1)
            let accepted = Shared<[String: Set<Int>]>([:])
            let other = try SimulatedWorker("other", queue, accepted: accepted)
            let otherTask = Task { await other.run() }
            // How much longer sleeps take on a machine that runs other tests: so much more is allowed.
            let starved = Shared(Duration.zero)
            let sleeper = Task {
                while !Task.isCancelled {
                    let before = ContinuousClock.now
                    try await Task.sleep(for: .milliseconds(10))
                    let late = ContinuousClock.now - before - .milliseconds(10)
                    starved.withLock { $0 += late }
                }
            }
            let ended = try await eventually { try await queue.handle.getTask("t").state == .completed }
            #expect(ended)
            let attempts = try await queue.handle.getTask("t").attempts
            #expect(attempts.map(\.worker) == ["silent", "other"])
            #expect(attempts.first?.outcome == "lost")
            let start = try #require(attempts.first?.startedAt)
            let again = try #require(attempts.last?.startedAt)
            sleeper.cancel()
            #expect(again.timeIntervalSince(start) < 2 + starved.value.seconds)
            let late = try await silent.finish(
                [.init(taskID: "t", attempt: 1, outcome: .completed)], pull: 0, holding: 0)
            guard case .failure(.invalidStateTransition(_, leaseLost: true))? = late.states.first else {
                Issue.record("the late report got \(late.states)")
                return
            }
            otherTask.cancel()
            await otherTask.value
            replicaTask.cancel()
            _ = await replicaTask.result
            try await queue.snapshot()
        }
    }

    @Test func theLossOfAQueuesDataIsNoticed() async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            let replica = try TaskScheduler(client: redis.makeClient(), queues: [queue.name], logger: .silent)
            let running = Task { try await replica.run() }
            let seen = try await eventually { replica.health.current[queue.name]?.instance != nil }
            #expect(seen)
            #expect(replica.health.current[queue.name]?.lostData == false)
            _ = try await redis.client.send(RedisCommand("FLUSHALL"))
            let noticed = try await eventually { replica.health.current[queue.name]?.lostData == true }
            #expect(noticed)
            running.cancel()
            _ = await running.result
        }
    }

    @Test func aReplicaSaysThatRedisIsAwayAndThatItIsBack() async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            let client = RedisClient(try RedisConfiguration(url: redis.url + "?timeout=0.2"))
            let replica = try TaskScheduler(client: client, queues: [queue.name], logger: .silent)
            let running = Task { try await replica.run() }
            let seen = try await eventually { replica.health.current[queue.name]?.lastTick != nil }
            #expect(seen)
            await redis.kill()
            let away = try await eventually(within: .seconds(20)) { replica.health.current[queue.name]?.failure != nil }
            #expect(away)
            try await redis.restart()
            let back = try await eventually(within: .seconds(20)) { replica.health.current[queue.name]?.failure == nil }
            #expect(back)
            running.cancel()
            _ = await running.result
            await client.shutdown()
        }
    }
}
