import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Commands of the client, while slots move and primaries are replaced.
extension RedisClusterTests {
    @Test func aKeyHasTheSlotThatRedisGivesIt() async throws {
        try await Self.run { farm, _ in
            let keys = [
                "", "a", "{a}", "{a}b", "b{a}", "{}", "{}a", "a{}{b}", "{a", "a}", "}a{b}c", "{{a}}", "{a}{b}", "größe",
                "switchyard:{q}:", "switchyard:{q/7}:config",
            ]
            for key in keys + (0..<50).map({ _ in QueuedTask.randomID() }) {
                let slot = try await farm.slot(of: key)
                #expect(HashSlot.of(key: key.utf8) == slot, "\(key)")
            }
        }
    }

    @Test func commandsFollowASlotWhileItMoves() async throws {
        try await Self.run { farm, client in
            let name = QueuedTask.randomID()
            let keys = (0..<60).map { "{\(name)}:\($0)" }
            for key in keys { _ = try await client.send(RedisCommand("SET", .string(key), .string(key))) }
            let other = "other-" + name
            _ = try await client.send(RedisCommand("SET", .string(other), "o"))
            let slot = try await farm.slot(of: keys[0])
            let migration = try await farm.migration(of: slot, to: try await Self.another(farm, than: slot))
            let gets = (keys + [other]).map { RedisCommand("GET", .string($0)) }
            func expectAll() async throws {
                for key in keys { #expect(try await client.send(RedisCommand("GET", .string(key))).string == key) }
                #expect(try await client.pipeline(gets).map(\.string) == keys + ["o"])
            }
            try await migration.begin()
            try await expectAll()
            _ = try await migration.moveKeys(25)
            try await expectAll()
            // A new key is made on the target.
            let new = "{\(name)}:new"
            _ = try await client.send(RedisCommand("SET", .string(new), "1"))
            #expect(try await client.send(RedisCommand("INCR", .string(new))).int == 2)
            // Keys on two nodes: only the end of the move helps.
            #expect(!client.isMoving(other))
            let error = await #expect(throws: RedisError.self) {
                let all = RedisCommand("MGET", keys.map { .string($0) })
                _ = try await client.send(all, deadline: .milliseconds(300))
            }
            #expect(error?.code == "TRYAGAIN")
            #expect(client.isMoving(keys[0]))
            #expect(!client.isMoving(other))
            while try await migration.moveKeys(10) {}
            try await expectAll()
            try await migration.end()
            try await expectAll()
            #expect(try await client.send(RedisCommand("GET", .string(new))).int == 2)
            let port = try await client.primary(of: keys[0]).configuration.endpoint
            #expect("\(port)" == migration.target.address)
            try await farm.waitUntilComplete()
        }
    }

    @Test func nothingIsDoneTwiceWhileSlotsMove() async throws {
        try await Self.run { farm, client in
            let names = (0..<4).map { _ in QueuedTask.randomID() }
            let callers = 8
            let calls = 150
            try await withThrowingTaskGroup(of: Void.self) { group in
                for caller in 0..<callers {
                    let name = names[caller % names.count]
                    group.addTask {
                        for call in 0..<calls {
                            let commands = [
                                RedisCommand("INCR", .string("{\(name)}n")),
                                RedisCommand("INCR", .string("{\(name)}m\(call % 20)")),
                            ]
                            if call % 2 == 0 {
                                for command in commands { _ = try await client.send(command) }
                            } else {
                                for case .error(let error) in try await client.pipeline(commands) { throw error }
                            }
                        }
                    }
                }
                for name in names {
                    let slot = try await farm.slot(of: name)
                    let home = try await farm.owner(of: slot)
                    try await farm.reshard(slot, to: try await Self.another(farm, than: slot), keysAtOnce: 3)
                    try await farm.reshard(slot, to: home, keysAtOnce: 5, pause: .milliseconds(2))
                }
                try await group.waitForAll()
            }
            for name in names {
                let count = callers / names.count * calls
                #expect(try await client.send(RedisCommand("GET", .string("{\(name)}n"))).int == Int64(count))
                var sum: Int64 = 0
                for call in 0..<20 {
                    sum += try await client.send(RedisCommand("GET", .string("{\(name)}m\(call)"))).int ?? 0
                }
                #expect(sum == Int64(count))
            }
        }
    }

    enum Move: CaseIterable { case afterwards, during, failover }

    /// MOVED, ASK and UNBLOCKED.
    @Test(arguments: Move.allCases) func aBlockingPopGoesOnElsewhere(_ move: Move) async throws {
        try await Self.run { farm, client in
            let list = "{\(QueuedTask.randomID())}list"
            let slot = try await farm.slot(of: list)
            let source = try await farm.owner(of: slot)
            let target = try await Self.another(farm, than: slot)
            let migration = try await farm.migration(of: slot, to: target)
            if move == .during { try await migration.begin() }
            async let popped = client.sendBlocking(RedisCommand("BLPOP", .string(list), "30"), timeout: .seconds(30))
            func isBlocked(on node: ClusterNode) async throws -> Bool {
                let clients = try await node.client.send(RedisCommand("CLIENT", "LIST")).string ?? ""
                return clients.split(separator: "\n").contains {
                    $0.contains(" cmd=blpop ") && $0.contains(" flags=b ")
                }
            }
            let first = move == .during ? target : source
            #expect(try await eventually(within: .seconds(30)) { try await isBlocked(on: first) })
            let sender = try farm.makeClient()
            switch move {
            case .afterwards: try await farm.reshard(slot, to: target)
            case .during: try await migration.end()
            case .failover: try await farm.failOver(slot)
            }
            if move != .during {
                let next = try await farm.owner(of: slot)
                #expect(try await eventually(within: .seconds(30)) { try await isBlocked(on: next) })
            }
            _ = try await sender.send(RedisCommand("RPUSH", .string(list), "x", "y"))
            #expect(try await popped.array?.last?.string == "x")
            #expect(try await sender.send(RedisCommand("LRANGE", .string(list), 0, -1)).array?.map(\.string) == ["y"])
            await sender.shutdown()
            try await farm.waitUntilComplete()
        }
    }

    @Test(arguments: [false, true]) func aSubscriptionMovesWithItsSlot(byFailover: Bool) async throws {
        try await Self.run { farm, client in
            let name = QueuedTask.randomID()
            let channels = ["{\(name)}a", "{\(name)}b", "elsewhere-\(name)"]
            let slot = try await farm.slot(of: channels[0])
            let subscription = try await client.subscribe(to: channels)
            let second = try await client.subscribe(to: [channels[0]])
            let publisher = try farm.makeClient()
            var events = subscription.makeAsyncIterator()
            var others = second.makeAsyncIterator()
            func expectMessages(_ text: String) async throws {
                for channel in channels {
                    _ = try await publisher.send(RedisCommand("SPUBLISH", .string(channel), .string(text)))
                    let message = RedisSubscription.Event.message(channel: channel, payload: ByteBuffer(string: text))
                    // One for each channel that had moved.
                    var event = await events.next()
                    while event == .resubscribed { event = await events.next() }
                    #expect(event == message)
                }
                var event = await others.next()
                while event == .resubscribed { event = await others.next() }
                #expect(event == .message(channel: channels[0], payload: ByteBuffer(string: text)))
            }
            try await expectMessages("before")
            if byFailover {
                // The former primary has the subscriptions on, and gets the messages as a Redis replica.
                try await farm.failOver(slot)
            } else {
                try await farm.reshard(slot, to: try await Self.another(farm, than: slot))
                #expect(await others.next() == .resubscribed)
                #expect(await events.next() == .resubscribed)
                #expect(await events.next() == .resubscribed)
            }
            try await expectMessages("after")
            second.cancel()
            try await farm.reshard(slot, to: try await Self.another(farm, than: slot))
            if !byFailover { #expect(await events.next() == .resubscribed) }
            #expect(
                try await eventually(within: .seconds(30)) {
                    let node = try await client.primary(of: channels[0])
                    let counts = try await node.send(
                        RedisCommand("PUBSUB", "SHARDNUMSUB", .string(channels[0]), .string(channels[1])))
                    return counts.array?.compactMap(\.int) == [1, 1]
                })
            var rest = subscription.makeAsyncIterator()
            _ = try await publisher.send(RedisCommand("SPUBLISH", .string(channels[1]), "end"))
            while let event = await rest.next() {
                if event == .message(channel: channels[1], payload: ByteBuffer(string: "end")) { break }
            }
            subscription.cancel()
            #expect(
                try await eventually(within: .seconds(30)) {
                    let node = try await client.primary(of: channels[0])
                    let counts = try await node.send(RedisCommand("PUBSUB", "SHARDNUMSUB", .string(channels[0])))
                    return counts.array?.last?.int == 0
                })
            await publisher.shutdown()
        }
    }

    @Test func aServerOfTheOtherKindIsRefusedWithTheWordsToUse() async throws {
        try await Self.run { farm, _ in
            let node = farm.nodes[0]
            let plain = RedisClient(try RedisConfiguration(url: "redis://\(node.address)"))
            let problem = try #require(try await ServerKind.problem(of: plain))
            #expect(problem.contains("redis-cluster://\(node.address)"))
            let scheduler = try TaskScheduler(client: plain, queues: ["q"], logger: TestRedis.quiet)
            let refusal = await #expect(throws: SchedulerError.self) { try await scheduler.run() }
            #expect(refusal?.field == "redis")
            await plain.shutdown()

            let port = "\(try ClusterNode.freePort())"
            let single = try await TestRedis.start(arguments: ["--bind", "127.0.0.1", "--port", port])
            let address = "127.0.0.1:\(port)"
            let cluster = RedisClient(try RedisConfiguration(url: "redis-cluster://\(address)"))
            let words = try #require(try await ServerKind.problem(of: cluster))
            #expect(words.contains("use redis://\(address)"))
            await cluster.shutdown()
            await single.stop()
            #expect(throws: SchedulerError.self) { try Partitions(on: [cluster, plain]) }
        }
    }

    /// Without any node, a call ends at its deadline, and says why.
    @Test func withoutANodeCallsEndAtTheirDeadline() async throws {
        let client = RedisClient(try RedisConfiguration(url: "redis-cluster://127.0.0.1:1,127.0.0.1:2"))
        let start = ContinuousClock.now
        for command in [RedisCommand("GET", "k"), RedisCommand("PING")] {
            let error = await #expect(throws: RedisError.self) {
                _ = try await client.send(command, deadline: .seconds(1))
            }
            #expect(error?.kind == .connectionFailed)
            #expect(error?.message.contains("127.0.0.1") == true)
        }
        #expect(ContinuousClock.now - start < .seconds(20))
        await client.shutdown()
        let refusal = await #expect(throws: RedisError.self) { _ = try await client.send(RedisCommand("PING")) }
        #expect(refusal?.kind == .clientShutDown)
    }
}
