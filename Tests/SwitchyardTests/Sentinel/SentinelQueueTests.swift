import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// What a queue loses, and what it does not, when another server becomes the primary.
@Suite(.timeLimit(.minutes(5))) struct SentinelQueueTests {
    @Test(arguments: SentinelClientTests.Change.allCases)
    func whatAllRedisReplicasHadIsThereAfterAFailover(change: SentinelClientTests.Change) async throws {
        try await SentinelFarm.run { farm in
            let load = try await SentinelLoad(farm)
            var before = ContinuousClock.now
            let missing = try await load.run {
                _ = try await eventually(within: .seconds(30)) { load.record.value.replicated.count > 100 }
                before = .now
                _ = try await change.make(farm, 0)
                if change == .paused { farm.servers[0].resume() }
            }
            let record = load.record.value
            let lost = missing.filter { record.replicated[$0] != nil }
            #expect(lost.isEmpty, "\(lost.sorted().prefix(5))")
            #expect(record.replicated.count > 100)
            // The others may be lost: those that were acknowledged shortly before the failover, and during it.
            let late = missing.compactMap { record.others[$0] }
            #expect(late.allSatisfy { $0 > before - .seconds(10) })
            let earliest = late.min().map { "\(before - $0) before" } ?? "none"
            print(
                """
                \(change): elected, longest gap \(record.longestGap); \(record.replicated.count) replicated, of \
                \(record.others.count) others \(late.count) lost, the earliest \(earliest)
                """)
            await load.shutdown()
        }
    }

    @Test func anEmptyServerThatBecomesThePrimaryIsToldAndServed() async throws {
        try await SentinelFarm.run { farm in
            let client = try farm.makeClient()
            let scheduler = try TaskScheduler(client: client, queues: ["lost"], logger: TestRedis.quiet)
            let replica = Task { try await scheduler.run() }
            let handle = try scheduler.handle(queue: "lost")
            let added = try await handle.addTask(QueuedTask(BuildRequest()), replicasToWait: 2)
            #expect(added.isReplicated == true)
            let isServed = try await eventually(within: .seconds(30)) {
                scheduler.health.current["lost"]?.instance?.isEmpty == false
            }
            #expect(isServed)
            for server in farm.servers { await server.kill() }
            for server in farm.servers[1...] {
                try server.removeData()
                try await server.start()
            }
            try await farm.waitForFailover(from: 0)
            let isTold = try await eventually(within: .seconds(30)) {
                scheduler.health.current["lost"]?.lostData == true
            }
            #expect(isTold)
            // The function library is there again.
            let again = try await handle.addTask(QueuedTask(BuildRequest()))
            #expect(again.isNew && again.isReplicated == nil)
            try await expectError("TaskNotFound") { _ = try await handle.getTask(added.task.id) }
            replica.cancel()
            _ = await replica.result
            await client.shutdown()
        }
    }

    @Test func whatTooFewRedisReplicasHaveIsAcceptedAndSaidToBeSo() async throws {
        try await SentinelFarm.run { farm in
            let client = try farm.makeClient()
            try await FunctionLibrary(client: client, logger: TestRedis.quiet).ensureLoaded()
            let handle = try SchedulerHandle(queue: "replicas", client: client, logger: TestRedis.quiet)
            func add(_ count: Int, _ replicas: Int?) async throws -> Set<Bool?> {
                let tasks = (0..<count).map { _ in
                    var task = QueuedTask(BuildRequest(), priority: .low)
                    if count > 50 { task.scheduling.fairnessKey = "a" }
                    return task
                }
                let added = try await handle.addTasks(tasks, replicasToWait: replicas)
                #expect(added.count == count)
                #expect(added.allSatisfy { $0.isNew })
                return Set(added.map(\.isReplicated))
            }
            // Alone, a batch in one call, a batch in parts.
            for count in [1, 7, 60] {
                #expect(try await add(count, nil) == [nil])
                #expect(try await add(count, 0) == [nil])
                #expect(try await add(count, 1) == [true])
                #expect(try await add(count, 2) == [true])
                #expect(try await add(count, 3) == [false])
            }
            for wrong in [-1, 101] {
                try await expectError("BadRequest") {
                    _ = try await handle.addTask(QueuedTask(BuildRequest()), replicasToWait: wrong)
                }
            }
            // A repetition is as replicated as its first call.
            var task = QueuedTask(BuildRequest(), priority: .low, id: "again")
            task.requestToken = "first"
            #expect(try await handle.addTask(task).isReplicated == nil)
            let second = try await handle.addTask(task, replicasToWait: 2)
            #expect(second.isRepetition && second.isReplicated == true)
            // The setting counts for submissions that say nothing.
            try await handle.configure([("replicas_to_wait", 2)])
            let fresh = try SchedulerHandle(queue: "replicas", client: client, logger: TestRedis.quiet)
            #expect(try await fresh.addTask(QueuedTask(BuildRequest())).isReplicated == true)
            #expect(try await fresh.addTask(QueuedTask(BuildRequest()), replicasToWait: 0).isReplicated == nil)
            await farm.servers[1].kill()
            #expect(try await fresh.addTask(QueuedTask(BuildRequest())).isReplicated == false)
            await client.shutdown()
        }
    }

    @Test func settingsThatLoseMoreThanTheyMustAreTold() async throws {
        try await SentinelFarm.run { farm in
            let client = try farm.makeClient()
            func levels() async throws -> [String: ServerFinding.Level] {
                let findings = try await ServerReview(client).findings()
                return Dictionary(findings.map { ($0.subject, $0.level) }) { $1 }
            }
            var found = try await levels()
            #expect(found["replication"] == .fail)
            #expect(found["persistence"] == .ok && found["replicas"] == .ok && found["sentinels"] == nil)
            for (name, value) in [("min-replicas-to-write", "1"), ("appendonly", "no")] {
                try await farm.servers[0].send("CONFIG", "SET", .string(name), .string(value))
            }
            found = try await levels()
            #expect(found["replication"] == .ok && found["persistence"] == .fail)
            for server in farm.servers[1...] { await server.kill() }
            let isTold = try await eventually(within: .seconds(30), every: .milliseconds(100)) {
                try await levels()["replicas"] == .fail
            }
            #expect(isTold)
            await client.shutdown()
        }
        guard case .sentinel(let few) = try RedisConfiguration(url: "redis-sentinel://a,b/tasks").deployment else {
            Issue.record("expected sentinels")
            return
        }
        #expect(ServerReview.sentinel(few, leastReplicas: nil, connected: nil).map(\.subject) == ["sentinels"])
    }
}
