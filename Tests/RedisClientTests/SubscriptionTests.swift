import Logging
import NIOCore
import NIOPosix
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct SubscriptionTests {
    @Test func messagesArriveInOrderWithTheirChannel() async throws {
        try await TestRedis.run { _, redis in
            let subscription = try await redis.subscribe(to: ["one", "two"])
            for number in 0..<100 {
                _ = try await redis.send(RedisCommand("PUBLISH", number % 2 == 0 ? "one" : "two", "\(number)"))
            }
            var events = subscription.makeAsyncIterator()
            for number in 0..<100 {
                let expected = RedisSubscription.Event.message(
                    channel: number % 2 == 0 ? "one" : "two", payload: ByteBuffer(string: "\(number)"))
                #expect(await events.next() == expected)
            }
        }
    }

    @Test func afterARestartItResubscribesAndSaysSo() async throws {
        try await TestRedis.run { server, redis in
            let subscription = try await redis.subscribe(to: ["news"])
            var events = subscription.makeAsyncIterator()
            await server.crash()
            try await server.start()
            #expect(await events.next() == .resubscribed)
            _ = try await redis.send(RedisCommand("PUBLISH", "news", "again"))
            #expect(await events.next() == .message(channel: "news", payload: ByteBuffer(string: "again")))
        }
    }

    @Test func cancellingTheConsumerEndsItAndClosesItsConnection() async throws {
        try await TestRedis.run { _, redis in
            let subscription = try await redis.subscribe(to: ["news"])
            let consumer = Task {
                for await _ in subscription {}
                return Task.isCancelled
            }
            #expect(try await redis.subscribers(of: "news") == 1)
            consumer.cancel()
            #expect(await consumer.value)
            #expect(try await eventually { try await redis.subscribers(of: "news") == 0 })
        }
    }

    @Test func releasingTheSequenceClosesItsConnection() async throws {
        try await TestRedis.run { _, redis in
            do {
                let subscription = try await redis.subscribe(to: ["news"])
                #expect(try await redis.subscribers(of: "news") == 1)
                _ = subscription
            }
            #expect(try await eventually { try await redis.subscribers(of: "news") == 0 })
        }
    }

    @Test(arguments: [2, 300]) func allSubscriptionsShareAConnection(count: Int) async throws {
        try await TestRedis.run { server, redis in
            // All at once, each with a channel of its own and one that all have.
            var subscriptions = try await withThrowingTaskGroup(of: (Int, RedisSubscription).self) { group in
                for n in 0..<count {
                    group.addTask { (n, try await redis.subscribe(to: ["own-\(n)", "all"])) }
                }
                return try await group.reduce(into: [Int: RedisSubscription]()) { $0[$1.0] = $1.1 }
            }
            #expect(try await redis.subscriptionConnections() == 1)
            #expect(try await redis.subscribers(of: "all") == 1)
            for n in 0..<count { _ = try await redis.send(RedisCommand("PUBLISH", "own-\(n)", "\(n)")) }
            _ = try await redis.send(RedisCommand("PUBLISH", "all", "together"))
            for n in 0..<count {
                var events = try #require(subscriptions[n]).makeAsyncIterator()
                #expect(await events.next() == .message(channel: "own-\(n)", payload: ByteBuffer(string: "\(n)")))
                #expect(await events.next() == .message(channel: "all", payload: ByteBuffer(string: "together")))
            }
            // One that leaves takes only its own channel along.
            subscriptions[0] = nil
            #expect(try await eventually { try await redis.subscribers(of: "own-0") == 0 })
            #expect(try await redis.subscribers(of: "own-1") == 1)
            #expect(try await redis.subscribers(of: "all") == 1)

            await server.crash()
            try await server.start()
            for n in 1..<count {
                var events = try #require(subscriptions[n]).makeAsyncIterator()
                #expect(await events.next() == .resubscribed)
            }
            #expect(try await redis.subscribers(of: "all") == 1)
            #expect(try await redis.subscriptionConnections() == 1)
            subscriptions = [:]
            #expect(try await eventually { try await redis.subscriptionConnections() == 0 })
            // The next one begins anew.
            let next = try await redis.subscribe(to: ["again"])
            #expect(try await redis.subscribers(of: "again") == 1)
            next.cancel()
        }
    }

    @Test func aChannelThatIsForbiddenCostsTheOthersNothing() async throws {
        try await TestRedis.run { _, redis in
            _ = try await redis.send(
                RedisCommand("ACL", "SETUSER", "limited", "on", ">secret", "+@all", "&mine:*", "~*"))
            var configuration = redis.configuration
            (configuration.username, configuration.password) = ("limited", "secret")
            let limited = RedisClient(configuration)
            let mine = try await limited.subscribe(to: ["mine:1"])
            for channels in [["yours"], ["mine:2", "yours"], ["yours", "mine:2", "theirs"]] {
                #expect(try await redisError { _ = try await limited.subscribe(to: channels) }?.code == "NOPERM")
            }
            #expect(try await eventually { try await redis.subscribers(of: "mine:2") == 0 })
            _ = try await redis.send(RedisCommand("PUBLISH", "mine:1", "x"))
            var events = mine.makeAsyncIterator()
            #expect(await events.next() == .message(channel: "mine:1", payload: ByteBuffer(string: "x")))
            await limited.shutdown()
        }
    }

    @Test func manyThatComeAndGoOnOneChannelLoseNothing() async throws {
        try await TestRedis.run { _, redis in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for n in 0..<8 {
                    group.addTask {
                        for round in 0..<50 {
                            let subscription = try await redis.subscribe(to: ["busy", "own-\(n)"])
                            _ = try await redis.send(RedisCommand("PUBLISH", "own-\(n)", "\(round)"))
                            for await event in subscription {
                                guard case .message("own-\(n)", let payload) = event else { continue }
                                #expect(String(buffer: payload) == "\(round)")
                                break
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await eventually { try await redis.subscribers(of: "busy") == 0 })
        }
    }

    @Test func shutdownEndsIt() async throws {
        try await TestRedis.run { _, redis in
            let subscription = try await redis.subscribe(to: ["news"])
            let consumer = Task { for await _ in subscription {} }
            await redis.shutdown()
            await consumer.value
        }
    }

    @Test func aSlowConsumerLosesTheOldestAndIsTold() async throws {
        let buffer = EventBuffer(capacity: 3)
        for number in 0..<5 {
            buffer.add(.message(channel: "c", payload: ByteBuffer(string: "\(number)")))
        }
        buffer.end()
        #expect(await buffer.next {} == .gap)
        for number in 2..<5 {
            #expect(await buffer.next {} == .message(channel: "c", payload: ByteBuffer(string: "\(number)")))
        }
        #expect(await buffer.next {} == nil)
    }

    @Test func anIdleConnectionIsTestedAndReplacedWhenItDoesNotAnswer() async throws {
        try await TestRedis.run { server, redis in
            var configuration = redis.configuration
            configuration.commandTimeout = .milliseconds(500)
            let logger = Logger(label: "test")
            let connector = RedisConnector(configuration, group: MultiThreadedEventLoopGroup.singleton, logger: logger)
            let subscriptions = Subscriptions(connector, logger: logger, pingInterval: .milliseconds(20))
            defer { subscriptions.shutDown() }
            let subscription = RedisSubscription(feed: try await subscriptions.add(["news"]))
            let id = try await redis.send(RedisCommand("CLIENT", "LIST", "TYPE", "pubsub")).string
            // A connection whose pings get replies is kept.
            let isPinged = try await eventually {
                let stats = try await redis.send(RedisCommand("INFO", "commandstats")).string ?? ""
                return stats.contains("cmdstat_ping:calls=") && !stats.contains("cmdstat_ping:calls=1,")
            }
            #expect(isPinged)
            let sameId = try await redis.send(RedisCommand("CLIENT", "LIST", "TYPE", "pubsub")).string
            #expect(id?.prefix { $0 != " " } == sameId?.prefix { $0 != " " })

            await server.freeze()
            // Three times the time limit of a ping, so that the client gives the connection up before.
            let thaw = Task {
                try await Task.sleep(for: .milliseconds(1500))
                await server.unfreeze()
            }
            var events = subscription.makeAsyncIterator()
            #expect(await events.next() == .resubscribed)
            try await thaw.value
        }
    }
}

extension RedisClient {
    fileprivate func subscribers(of channel: String) async throws -> Int64? {
        try await send(RedisCommand("PUBSUB", "NUMSUB", .string(channel))).array?.last?.int
    }

    fileprivate func subscriptionConnections() async throws -> Int? {
        let list = try await send(RedisCommand("CLIENT", "LIST", "TYPE", "pubsub")).string
        return list?.split(separator: "\n").count
    }
}
