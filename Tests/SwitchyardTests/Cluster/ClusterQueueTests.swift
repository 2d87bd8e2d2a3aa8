import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// Queues in a Redis Cluster, while slots move and primaries are replaced.
extension RedisClusterTests {
    @Test(arguments: [1, 3]) func aBusyQueueSurvivesReshardingAndFailover(partitions: Int) async throws {
        try await Self.run { farm, client in
            let load = try ClusterLoad(client, partitions: partitions)
            let prefix = load.partitions.functions(queue: load.name, logger: TestRedis.quiet)[partitions - 1].keys
                .prefix
            let slot = HashSlot.of(key: prefix.utf8)
            try await load.run {
                let home = try await farm.owner(of: slot)
                for target in [try await Self.another(farm, than: slot), home] {
                    let count = load.accepted.count
                    #expect(try await eventually(within: .seconds(30)) { load.accepted.count > count + 100 })
                    try await farm.reshard(slot, to: target, keysAtOnce: 30, pause: .milliseconds(1))
                }
                try await farm.failOver(slot)
                let count = load.accepted.count
                #expect(try await eventually(within: .seconds(30)) { load.accepted.count > count + 100 })
            }
            // Nothing is lost, because every node handed over in order, and nothing ran twice without an attempt.
            #expect(try await load.lost() == [])
            let tasks = try await load.handle.getTasks(Array(load.runs.keys.prefix(1000)))
            for task in tasks.compactMap({ $0 }) { #expect(load.runs[task.id] ?? 0 <= task.attempt, "\(task.id)") }
            try await load.check(farm)
            print("cluster: \(load.accepted.count) tasks; the longest submission took \(load.pause)")
        }
    }

    /// The node that joins has no functions, and the one that gives its last slot away becomes a Redis replica.
    @Test func aNodeMayJoinWithoutFunctionsAndLeaveAgain() async throws {
        try await Self.run { farm, client in
            let load = try ClusterLoad(client)
            let slot = HashSlot.of(key: Keys(queue: load.name).prefix.utf8)
            let home = try await farm.owner(of: slot)
            let joined = try await farm.addNode()
            try await load.run {
                for target in [joined, home] {
                    let count = load.accepted.count
                    #expect(try await eventually(within: .seconds(30)) { load.accepted.count > count + 50 })
                    try await farm.reshard(slot, to: target, keysAtOnce: 50)
                    if target === joined {
                        #expect(
                            try await eventually(within: .seconds(30)) {
                                try await joined.client.send(RedisCommand("FUNCTION", "LIST")).array?.count == 1
                            })
                    }
                }
                #expect(
                    try await eventually(within: .seconds(30)) {
                        try await joined.client.send(RedisCommand("ROLE")).array?.first?.string == "slave"
                    })
            }
            #expect(try await load.lost() == [])
            try await load.check(farm)
            let addresses = try await client.primaries().map { "\($0.configuration.endpoint)" }
            #expect(try await eventually(within: .seconds(40)) { !addresses.contains(joined.address) })
        }
    }

    /// A killed primary is replaced by its Redis replica, to which replication is asynchronous.
    @Test func aKilledPrimaryIsReplaced() async throws {
        try await ClusterFarm.run { farm in
            let client = try farm.makeClient()
            let load = try ClusterLoad(client)
            let slot = HashSlot.of(key: Keys(queue: load.name).prefix.utf8)
            let subscription = try await client.subscribe(to: [Keys(queue: load.name).results])
            var killedAt = ContinuousClock.now
            try await load.run {
                #expect(try await eventually(within: .seconds(30)) { load.accepted.count > 200 })
                killedAt = .now
                let former = try await farm.killOwner(of: slot)
                let count = load.accepted.count
                #expect(try await eventually(within: .seconds(30)) { load.accepted.count > count + 50 })
                try await former.restart()
                try await farm.waitUntilComplete()
            }
            let lost = try await load.lost()
            print(
                "cluster: \(load.accepted.count) tasks, \(lost.count) lost; the longest submission took \(load.pause)")
            // What Redis acknowledged, and had not sent to its replica when it was killed.
            for id in lost {
                let at = try #require(load.accepted[id])
                #expect(killedAt - .seconds(1) < at && at < killedAt + .seconds(1), "\(id)")
            }
            try await load.check(farm)
            var events = subscription.makeAsyncIterator()
            while let event = await events.next(), event != .resubscribed {}
            await client.shutdown()
        }
    }

    /// The list of the queues is on another primary than most queues, and may be lost without them.
    @Test func theListOfTheQueuesIsMadeAnew() async throws {
        try await Self.run { _, client in
            let names = (0..<3).map { "listed-\($0)" }
            let replica = try TaskScheduler(client: client, queues: names, logger: .silent)
            let running = Task { try await replica.run() }
            for _ in 1...2 {
                let isListed = try await eventually(within: .seconds(60)) {
                    let reply = try await client.send(RedisCommand("SMEMBERS", .string(Keys.queues)))
                    return Set(names).isSubset(of: (reply.array ?? []).compactMap(\.string))
                }
                #expect(isListed)
                _ = try await client.send(RedisCommand("DEL", .string(Keys.queues)))
            }
            running.cancel()
            _ = await running.result
        }
    }

    /// The messages of the functions reach the subscribers, and no node of another slot.
    @Test func messagesCostTheOtherNodesNothing() async throws {
        try await Self.run { farm, client in
            let load = try ClusterLoad(client)
            let keys = Keys(queue: load.name)
            let events = try await client.subscribe(to: [keys.results, keys.events, keys.control("w")])
            try await load.handle.configure([])
            let worker = try WorkerClient(worker: "w", queue: load.name, client: client, logger: TestRedis.quiet)
            _ = try await worker.register(WorkerClient.Registration(slots: 1))
            func received() async throws -> Int {
                var sum = 0
                for node in farm.nodes {
                    let lines = try await node.client.send(RedisCommand("CLUSTER", "INFO")).string ?? ""
                    for line in lines.split(whereSeparator: \.isNewline) {
                        if line.hasPrefix("cluster_stats_messages_publish_received:") {
                            sum += Int(line.split(separator: ":")[1]) ?? 0
                        }
                    }
                }
                return sum
            }
            let before = try await received()
            _ = try await load.handle.addTask(QueuedTask(BuildRequest(), id: "t"))
            let task = try await worker.pull(max: 1, holding: 0)
            #expect(task.map(\.id) == ["t"])
            try await load.handle.drainWorker("w")
            var found: Set<String> = []
            for await case .message(let channel, let payload) in events {
                found.insert(String(channel.dropFirst(keys.prefix.count)) + " " + String(buffer: payload))
                if channel == keys.control("w") { break }
            }
            #expect(found.contains("events t pending 0"))
            #expect(found.contains("control:w drain"))
            #expect(try await received() == before)
        }
    }

    // MARK: Partitions

    @Test func partitionsLieAsFarApartAsTheirNamesAllow() throws {
        for queue in ["default", "a", "builds.nightly", QueuedTask.randomID()] {
            for count in [1, 2, 3, 4, 7, 16, 64] {
                let numbers = PartitionNames.numbers(queue: queue, count: count)
                #expect(numbers.count == count && Set(numbers).count == count && numbers[0] == 0)
                #expect(numbers.dropFirst().allSatisfy { (1...99).contains($0) })
                // Each of `count` primaries with the same number of slots has at least one, for a few partitions.
                let first = PartitionNames.slot(queue: queue, number: 0)
                for (index, number) in numbers.enumerated() where count <= 7 {
                    let target = (first + HashSlot.count * index / count) % HashSlot.count
                    let distance = abs(PartitionNames.slot(queue: queue, number: number) - target)
                    #expect(min(distance, HashSlot.count - distance) < HashSlot.count / 16, "\(queue) \(count)")
                }
            }
        }
        // Tasks are stored by these names.
        #expect(PartitionNames.numbers(queue: "default", count: 4) == [0, 44, 45, 46])
    }

    @Test func anotherNumberOfPartitionsIsRefusedWhileThereAreTasks() async throws {
        try await Self.run { _, client in
            for (former, other) in [(1, 4), (4, 1), (4, 3)] {
                let load = try ClusterLoad(client, partitions: former)
                for functions in load.partitions.functions(queue: load.name, logger: TestRedis.quiet) {
                    try await load.partitions.join(functions)
                }
                for number in 0..<20 {
                    _ = try await load.handle.addTask(QueuedTask(BuildRequest(), id: "t\(number)"))
                }
                #expect(try await load.handle.getStats().pending == 20)
                let changed = try Partitions(on: [client], count: other)
                let scheduler = try TaskScheduler(partitions: changed, queues: [load.name], logger: TestRedis.quiet)
                let refusal = await #expect(throws: SchedulerError.self) { try await scheduler.run() }
                #expect(refusal?.field == "partitions")
                #expect(refusal?.message.contains("has \(former)") == true, "\(refusal?.message ?? "")")
                let worker = try Worker(
                    id: "w", queue: load.name, partitions: changed, options: WorkerOptions(slots: 1),
                    handler: NoOpHandler(), logger: TestRedis.quiet)
                await #expect(throws: SchedulerError.self) { try await worker.run() }
                // Nothing was created under the names of the other number.
                for functions in changed.functions(queue: load.name, logger: TestRedis.quiet) {
                    let isOwn = load.partitions.functions(queue: load.name, logger: TestRedis.quiet)
                        .contains { $0.keys.name == functions.keys.name }
                    let exists = try await client.send(RedisCommand("EXISTS", .string(functions.keys.config))).int
                    #expect(isOwn || exists == 0, "\(functions.keys.name)")
                }
                let spread = try await ClusterReview.spread(of: load.name, load.partitions)
                #expect(former < 3 || spread.level == .ok, "\(spread.message)")
            }
        }
    }
    /// A schedule is in one partition, which another number may not have.
    @Test(arguments: [(4, 2), (4, 1), (3, 4)])
    func anotherNumberOfPartitionsIsRefusedWhileThereAreSchedules(former: Int, other: Int) async throws {
        try await Self.run { _, client in
            let load = try ClusterLoad(client, partitions: former)
            let parts = load.partitions.functions(queue: load.name, logger: TestRedis.quiet)
            for functions in parts { try await load.partitions.join(functions) }
            let changed = try Partitions(on: [client], count: other)
            func refusal() async throws -> String? {
                do {
                    for functions in changed.functions(queue: load.name, logger: TestRedis.quiet) {
                        try await changed.join(functions)
                    }
                    // And back.
                    for functions in parts { try await load.partitions.join(functions) }
                    return nil
                } catch let error as SchedulerError {
                    return error.message
                }
            }
            #expect(try await refusal() == nil)
            for part in 0..<former {
                let id = try #require((0...).lazy.map { "s\($0)" }.first { load.partitions.home(of: $0) == part })
                try await load.handle.putSchedule(
                    RecurringSchedule(id: id, cron: "0 0 1 1 *", task: QueuedTask(BuildRequest())))
                let message = try await refusal()
                #expect(message?.contains("schedules") == true || message?.contains("has \(former)") == true, "\(id)")
                try await load.handle.removeSchedule(id)
                #expect(try await refusal() == nil)
            }
        }
    }
}
