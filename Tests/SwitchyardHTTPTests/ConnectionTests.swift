import Foundation
import NIOCore
import RedisClient
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Connections: too many, with a body that nobody wants, too slow, and gone.
@Suite struct ConnectionTests {
    private static let head = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    @Test(arguments: [
        ("POST /scheduler/task HTTP/1.1\r\n\(head)", 413), ("POST /nothing HTTP/1.1\r\n\(head)", 404),
        ("POST /scheduler/task?nope=1 HTTP/1.1\r\n\(head)", 400), ("PUT /scheduler/task HTTP/1.1\r\n\(head)", 405),
        ("POST /scheduler/task HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n", 403),
        ("GET /livez HTTP/1.1\r\n\(head)", 200),
    ])
    func aBodyThatNobodyWantsIsNotReadOn(request: String, status: Int) async throws {
        let world = try await World.shared
        let client = try await RawClient(world)
        try await client.send(request)
        let piece = "10000\r\n" + String(repeating: "x", count: 65536) + "\r\n"
        let sent = await client.flood(piece, atMost: 200 << 20)
        #expect(sent < 64 << 20)
        try await eventually("the response") { client.text.contains("\r\n\r\n") }
        #expect(client.text.hasPrefix("HTTP/1.1 \(status) "))
        #expect(client.text.contains("onnection: close"))
        await client.close()
    }

    @Test func aHeaderWithoutEndIsRefused() async throws {
        let client = try await RawClient(World.shared)
        try await client.send("GET /livez HTTP/1.1\r\nX: ")
        #expect(await client.flood(String(repeating: "x", count: 65536), atMost: 200 << 20) < 64 << 20)
        try await eventually("the response") { client.text.hasPrefix("HTTP/1.1 400") && client.isClosed }
        await client.close()
    }

    @Test func aRequestThatIsReadKeepsItsConnection() async throws {
        let client = try await RawClient(World.shared)
        for body in ["{", "{}", "[]"] {
            try await client.send(
                "POST /scheduler/task?nope=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
                    + body)
        }
        try await client.ask("/livez")
        try await eventually("four responses") { client.text.components(separatedBy: "HTTP/1.1 ").count == 5 }
        #expect(client.text.contains("HTTP/1.1 200"))
        #expect(!client.isClosed)
        await client.close()
    }

    @Test func aSlowHeadIsCutOff() async throws {
        var options = HTTPServerOptions()
        options.headTimeout = .milliseconds(300)
        let world = try await World.start(redis: World.shared.redis, options: options)
        let silent = try await RawClient(world)
        let slow = try await RawClient(world)
        try await slow.send("GET /livez HTTP/1.1\r\nHost: ")
        let served = try await RawClient(world)
        try await served.ask("/livez")
        try await eventually("both are closed") { silent.isClosed && slow.isClosed }
        #expect(served.text.hasPrefix("HTTP/1.1 200") && !served.isClosed)
        for client in [silent, slow, served] { await client.close() }
        await world.stop()
    }

    // MARK: Too many

    @Test func oneConnectionTooManyGetsProbesAndAReason() async throws {
        var options = HTTPServerOptions()
        options.maxConnections = 3
        let world = try await World.start(redis: World.shared.redis, options: options)
        var crowd: [RawClient] = []
        for _ in 0..<3 {
            crowd.append(try await RawClient(world))
            try await crowd.last?.ask("/livez")
        }
        try await eventually("all are served") { crowd.allSatisfy { $0.text.contains("200") } }
        // Many more, most of them silent: the oldest leave.
        for _ in 0..<300 { crowd.append(try await RawClient(world)) }
        for (path, status) in [
            ("/livez", 200), ("/readyz?x=1", 200), ("/scheduler/stats", 503), ("/livez/x", 503), ("/livez", 200),
        ] {
            let visitor = try await RawClient(world)
            try await visitor.ask(path)
            try await eventually("\(path) has a response") { visitor.text.contains("\r\n\r\n") && visitor.isClosed }
            #expect(visitor.text.hasPrefix("HTTP/1.1 \(status) "), "\(path)")
            #expect(visitor.text.contains("onnection: close"))
            if status == 503 {
                #expect(visitor.text.contains("Retry-After: 2") && visitor.text.contains("application/problem+json"))
            }
            await visitor.close()
        }
        for client in crowd { await client.close() }
        try await eventually("there is room again") {
            try await world.ask(.GET, "/scheduler/stats").status == 200
        }
        await world.stop()
    }

    // MARK: Gone

    private func hasWaiters(_ redis: RedisForTests, _ queue: String) async throws -> Bool {
        let channels = try await redis.client.send(
            RedisCommand("PUBSUB", "CHANNELS", .string("switchyard:{\(queue)}:events")))
        return channels.array?.isEmpty == false
    }

    @Test(arguments: [1, 40]) func aWaitEndsWithItsConnection(clients: Int) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let ids = [try await world.submit("{}", queue: queue), try await world.submit("{}", queue: queue)]
        // They leave and come again.
        for _ in 0..<3 {
            var all: [RawClient] = []
            for index in 0..<clients {
                all.append(try await RawClient(world))
                try await all.last?.ask("/scheduler/task/\(ids[index % 2])?queue=\(queue)&wait=50")
            }
            try await eventually("they wait") { try await hasWaiters(world.redis, queue) }
            for client in all { await client.close() }
            try await eventually("nobody waits", within: .seconds(5)) { try await !hasWaiters(world.redis, queue) }
        }
    }

    /// How often functions were called, by anybody.
    private func calls(_ redis: RedisForTests) async throws -> Int {
        let text = try await redis.client.send(RedisCommand("INFO", "commandstats")).string ?? ""
        return text.firstMatch(of: #/cmdstat_fcall:calls=(\d+)/#).flatMap { Int($0.1) } ?? 0
    }

    /// Each reads the task when it comes. What follows is read once for all.
    @Test(arguments: [(waiters: 1, leave: true), (400, true), (400, false)])
    func waitersOfATaskShareOneLook(waiters: Int, leave: Bool) async throws {
        let redis = try await RedisForTests.start()
        let world = try await World.start(redis: redis)
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        for _ in 0..<2 {
            let before = try await calls(redis)
            var all: [RawClient] = []
            for _ in 0..<waiters {
                all.append(try await RawClient(world))
                try await all.last?.ask("/scheduler/task/\(id)?queue=\(queue)&wait=50")
            }
            try await eventually("they wait", within: .seconds(60)) { try await calls(redis) >= before + waiters }
            let waiting = try await calls(redis)
            if leave {
                for client in all { await client.close() }
                try await eventually("nobody waits", within: .seconds(60)) { try await !hasWaiters(redis, queue) }
            } else {
                _ = try await world.ask(.DELETE, "/scheduler/task/\(id)?queue=\(queue)")
                try await eventually("all know", within: .seconds(60)) {
                    all.allSatisfy { $0.text.contains(#""state":"cancelled""#) }
                }
                _ = try await world.ask(.POST, "/scheduler/task/\(id)/retry?queue=\(queue)")
                for client in all { await client.close() }
            }
            // Time in which each of them could read.
            try await Task.sleep(for: .milliseconds(500))
            #expect(try await calls(redis) < waiting + 20)
        }
        await world.stop()
        try await redis.stop()
    }

    @Test func whoClosesOnlyTheOwnHalfGetsTheTaskAtOnce() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        let client = try await RawClient(world)
        try await client.ask("/scheduler/task/\(id)?queue=\(queue)&wait=50")
        try await client.closeOutput()
        try await eventually("the task", within: .seconds(5)) { client.text.contains(#""state":"pending""#) }
        await client.close()
    }

    @Test func aFollowerLeavesItsPlaceToTheNext() async throws {
        var options = HTTPServerOptions()
        options.maxLogFollowers = 1
        let world = try await World.start(redis: World.shared.redis, options: options)
        let queue = world.newQueue()
        let id = try await world.submit("{}", queue: queue)
        for _ in 0..<3 {
            let follower = try await RawClient(world)
            try await eventually("it follows", within: .seconds(5)) {
                try await follower.ask("/scheduler/task/\(id)/log?queue=\(queue)&follow=1")
                try await eventually("a response") { follower.text.contains("\r\n\r\n") }
                return follower.text.contains("retry: 1000")
            }
            await follower.close()
        }
        await world.stop()
    }
}
