import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Synchronization
import Testing

extension TestQueue {
    /// Whether the first attempt of each task has lost its lease.
    fileprivate func haveLost(_ ids: [String]) async throws -> Bool {
        try await handle.getTasks(ids).allSatisfy { $0?.attempts.first?.outcome == "lost" }
    }
}

/// Workers and replicas while Redis, or a part of the traffic with it, is away.
@Suite(.serialized) struct OutageTests {
    /// Completes each attempt, and notes its number.
    private final class NotingHandler: TaskHandler {
        private let numbers = Mutex<[String: [Int]]>([:])

        func run(_ attempt: Attempt) async -> AttemptOutcome {
            numbers.withLock { $0[attempt.id, default: []].append(attempt.number) }
            return .completed()
        }

        func numbers(of task: String) -> [Int] { numbers.withLock { $0[task] ?? [] } }
    }

    /// The reply to a pull, or to the pull that follows a sleep, arrives when its leases have ended.
    @Test(arguments: [1, 4]) func anAttemptIsNotStartedWhenItsLeaseHasEnded(count: Int) async throws {
        try await TestQueue.run(settings: quickSettings.merging(["assign_timeout_ms": 2000]) { $1 }) { queue in
            let proxy = try await RedisProxy.start(to: queue.redis)
            let client = try proxy.makeClient(commandTimeout: .seconds(30))
            let handler = NotingHandler()
            try await queue.withWorker(slots: 4, client: client, handler: handler) { _ in
                try await loseFirstAttempts((0..<count).map { "t\($0)" }, queue, proxy)
            }
            for id in (0..<count).map({ "t\($0)" }) { #expect(!handler.numbers(of: id).contains(1)) }
            await client.shutdown()
            await proxy.stop()
        }
    }

    /// Submits tasks to a worker that hears of them when it has lost them, and waits until they have completed.
    private func loseFirstAttempts(_ ids: [String], _ queue: TestQueue, _ proxy: RedisProxy) async throws {
        // The worker's sleep, and the pull after it, are in Redis before the network stands still.
        let sleeps = try await eventually(within: .seconds(30)) {
            try await queue.raw("CLIENT", "LIST").string?.contains("cmd=blpop") == true
        }
        #expect(sleeps)
        proxy.stall()
        // In one call, so that the pull after the sleep brings all.
        var tasks = ids.map { QueuedTask(BuildRequest(), id: $0) }
        for index in tasks.indices { tasks[index].maxRetries = 5 }
        _ = try await queue.handle.addTasks(tasks)
        let areLost = try await eventually(within: .seconds(30)) { try await queue.haveLost(ids) }
        #expect(areLost)
        proxy.resume()
        for id in ids { #expect(try await queue.ended(id).state == .completed) }
    }

    /// A replica that was cut off gives workers a heartbeat and a margin before it counts them as lost.
    @Test func afterAnOutageWorkersHaveTimeForAHeartbeat() async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis, settings: ["lease_ms": 14_000, "heartbeat_ms": 7000]) { queue in
                let proxy = try await RedisProxy.start(to: redis)
                let client = try proxy.makeClient()
                let scheduler = try TaskScheduler(client: client, queues: [queue.name], logger: TestRedis.quiet)
                let replica = Task { try await scheduler.run() }
                let workers = try await [queue.worker("a", slots: 2), queue.worker("b")]
                for id in ["t0", "t1"] { try await queue.submit(id) }
                let held = try await workers[0].pull(max: 2, holding: 0)
                #expect(held.count == 2)
                #expect(try await eventually { scheduler.health.current[queue.name]?.lastTick != nil })
                proxy.refuse()
                let isNoticed = try await eventually(within: .seconds(20)) {
                    scheduler.health.current[queue.name]?.failure != nil
                }
                #expect(isNoticed)
                // Ticks that are less than two seconds apart say nothing of an outage.
                try await Task.sleep(for: .seconds(3))
                // The registrations and the leases have expired when Redis is back.
                try await queue.raw("ZADD", "{}workers", "1", "a", "1", "b")
                try await queue.raw("ZADD", "{}leases", "XX", "1", "t0", "1", "t1")
                proxy.resume()
                try await Task.sleep(for: .seconds(7))
                for worker in workers {
                    let leased = worker.worker == "a" ? held.map { ($0.id, $0.attempt, nil as ByteBuffer?) } : []
                    let orders = try await worker.heartbeat(leased)
                    #expect(orders.stop.isEmpty)
                }
                let ticksAgain = try await eventually(within: .seconds(20)) {
                    scheduler.health.current[queue.name]?.failure == nil
                }
                #expect(ticksAgain)
                let stats = try await queue.handle.getStats()
                #expect(stats.lost == 0 && stats.running == 2)
                #expect(try await queue.handle.getWorkers().count == 2)
                replica.cancel()
                _ = await replica.result
                await client.shutdown()
                await proxy.stop()
            }
        }
    }

    /// Redis refuses reports for three times as long as a lease lasts, and accepts everything else.
    @Test func finishedWorkKeepsItsLeaseWhileReportsFail() async throws {
        let entry = "local function finish(keys, args)\n    local q, failure = sw.enter(keys)\n"
        let library = FunctionLibrary.source
            .replacing(
                entry,
                with: entry + "    if q and redis.call('EXISTS', q.prefix .. 'blocked') == 1 then "
                    + "return redis.error_reply('BUSY blocked by the test') end\n"
            )
            .replacing(/local VERSION = \d+/, with: "local VERSION = 1000000", maxReplacements: 1)
        #expect(library.contains("blocked by the test"))
        try await TestRedis.run { redis in
            _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(library)))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for count in [1, 4, 16] {
                    group.addTask { try await self.finishLate(count, on: redis) }
                }
                try await group.waitForAll()
            }
        }
    }

    private func finishLate(_ count: Int, on redis: TestRedis) async throws {
        try await TestQueue.run(on: redis, settings: ["lease_ms": 2500, "heartbeat_ms": 200]) { queue in
            try await queue.raw("SET", "{}blocked", "1")
            for index in 0..<count { try await queue.submit("t\(index)") }
            try await queue.withWorker(slots: count, handler: NoOpHandler()) { _ in
                #expect(try await eventually { try await queue.handle.getStats().running == count })
                try await Task.sleep(for: .milliseconds(7500))
                try await queue.raw("DEL", "{}blocked")
                #expect(try await eventually { try await queue.handle.getStats().completed == count })
            }
            let stats = try await queue.handle.getStats()
            #expect(stats.lost == 0 && stats.retries == 0)
        }
    }

    @Test func attemptsAreStoppedOnceWhenHeartbeatsHaveNoReplyAndGoOnAfterwards() async throws {
        try await TestQueue.run(settings: ["lease_ms": 3000, "heartbeat_ms": 200, "retry_delay_ms": 0]) { queue in
            let proxy = try await RedisProxy.start(to: queue.redis)
            let client = try proxy.makeClient(commandTimeout: .seconds(1))
            let handler = PatientHandler()
            try await queue.withWorker(slots: 3, client: client, handler: handler) { worker in
                for id in ["a", "b", "c"] { try await queue.submit(id, maxRetries: 5) }
                #expect(try await eventually { handler.running == 3 })
                // A shorter interruption stops nothing.
                proxy.stall()
                try await Task.sleep(for: .milliseconds(900))
                proxy.resume()
                try await Task.sleep(for: .milliseconds(1500))
                #expect(handler.cancelled == 0)
                proxy.stall()
                #expect(try await eventually(within: .milliseconds(2900)) { handler.cancelled == 3 })
                #expect(handler.running == 0)
                proxy.resume()
                // The worker hands them back, which uses no retry, and runs the next attempts.
                #expect(try await eventually(within: .seconds(20)) { handler.running == 3 })
                for id in ["a", "b", "c"] { #expect(try await queue.handle.getTask(id).retryCount == 0) }
                for id in ["a", "b", "c"] { try await queue.handle.cancelTask(id) }
                #expect(try await eventually { handler.running == 0 })
                worker.drain()
            }
            await client.shutdown()
            await proxy.stop()
        }
    }

    @Test func aWorkerThatWasCutOffHandsItsAttemptBack() async throws {
        try await TestQueue.run(settings: ["lease_ms": 3000, "heartbeat_ms": 200, "retry_delay_ms": 0]) { queue in
            let proxy = try await RedisProxy.start(to: queue.redis)
            let client = try proxy.makeClient(commandTimeout: .seconds(1))
            let handler = PatientHandler()
            let worker = try Worker(
                id: "w1", queue: queue.name, client: client, options: WorkerOptions(), handler: handler,
                logger: TestRedis.quiet)
            let serving = Task { try await worker.run() }
            try await queue.submit("t", maxRetries: 0)
            #expect(try await eventually { handler.running == 1 })
            proxy.stall()
            #expect(try await eventually { handler.cancelled == 1 })
            proxy.resume()
            // Nothing ticked meanwhile, so the queue still has the lease.
            let isBack = try await eventually(within: .seconds(20)) {
                try await queue.tick()
                return handler.running == 1
            }
            #expect(isBack)
            let task = try await queue.handle.getTask("t")
            #expect(task.attempts.map(\.attempt) == [1, 2])
            #expect(task.retryCount == 0)
            try await queue.handle.cancelTask("t")
            #expect(try await eventually { handler.running == 0 })
            worker.drain()
            try await serving.value
            await client.shutdown()
            await proxy.stop()
        }
    }
}
