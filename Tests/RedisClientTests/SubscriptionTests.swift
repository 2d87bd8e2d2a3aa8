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
            let feed = SubscriptionFeed(
                channels: ["news"], connector: connector, logger: logger, pingInterval: .milliseconds(20))
            try await feed.start {}
            let subscription = RedisSubscription(feed: feed)
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
}
