import Foundation
import NIOCore
import NIOHTTP1
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardHTTP

/// Requests while Redis is away: it does not reply, in each of the ways in which that happens, and comes back.
@Suite(.serialized) struct RedisAwayTests {
    enum Outage: Sendable {
        /// redis-server is killed, and started again with the same data.
        case killed
        /// Connections are closed as soon as they are accepted.
        case refusing
        /// redis-server is stopped by a signal: connections stay open, and new ones are accepted by the system.
        case stopped
        /// Nothing passes on the connections.
        case silent
    }

    /// A replica, and the Redis that goes away.
    private struct Site {
        let world: World
        let redis: TestRedis
        let proxy: RedisProxy
        let processID: pid_t

        func begin(_ outage: Outage) async {
            switch outage {
            case .killed: await redis.kill()
            case .refusing: proxy.refuse()
            case .stopped: kill(processID, SIGSTOP)
            case .silent: proxy.stall()
            }
        }

        func end(_ outage: Outage) async throws {
            switch outage {
            case .killed: try await redis.restart()
            case .refusing, .silent: proxy.resume()
            case .stopped: kill(processID, SIGCONT)
            }
        }
    }

    private func run(ticks: Bool = false, _ body: (Site) async throws -> Void) async throws {
        try await TestRedis.run(.always) { redis in
            let proxy = try await RedisProxy.start(to: redis)
            let client = try proxy.makeClient()
            let info = try await redis.client.send(RedisCommand("INFO", "server")).string ?? ""
            let id = try #require(info.firstMatch(of: #/process_id:(\d+)/#).flatMap { pid_t($0.1) })
            let world = try await World.start(redis: World.shared.redis, clients: [client], ticks: ticks)
            let site = Site(world: world, redis: redis, proxy: proxy, processID: id)
            defer { kill(id, SIGCONT) }
            try await body(site)
            await world.stop()
            await client.shutdown()
            await proxy.stop()
        }
    }

    /// A request for each route that needs Redis. Some may be carried out later, so they harm nothing that a test
    /// looks at.
    private static let requests: [(method: HTTPMethod, path: String, body: String?)] = [
        (.POST, "/scheduler/task", "{}"), (.POST, "/scheduler/tasks", "[{},{}]"),
        (.GET, "/scheduler/task/t", nil), (.GET, "/scheduler/task/t?wait=30", nil), (.DELETE, "/scheduler/task/t", nil),
        (.PATCH, "/scheduler/task/t", #"{"priority":"high"}"#), (.GET, "/scheduler/task/t/explain", nil),
        (.POST, "/scheduler/task/t/retry", nil), (.GET, "/scheduler/tasks", nil), (.GET, "/scheduler/task/t/log", nil),
        (.GET, "/scheduler/batch/b", nil), (.DELETE, "/scheduler/batch/b", nil), (.GET, "/scheduler/stats", nil),
        (.GET, "/scheduler/autoscale", nil), (.GET, "/scheduler/workers", nil),
        (.POST, "/scheduler/worker/w/drain", nil), (.POST, "/scheduler/worker/w/cordon", nil),
        (.POST, "/scheduler/worker/w/uncordon", nil), (.POST, "/scheduler/queue/other/pause", nil),
        (.POST, "/scheduler/queue/other/resume", nil), (.POST, "/scheduler/queue/other/drain", nil),
        (.GET, "/scheduler/queue/other", nil), (.DELETE, "/scheduler/queue/other?confirm=other", nil),
        (.PATCH, "/scheduler/queue/other", #"{"max_queue_length":10}"#), (.GET, "/scheduler/schedules", nil),
        (.GET, "/scheduler/schedule/s", nil),
        (.PUT, "/scheduler/schedule/s", #"{"cron":"0 0 * * *","task":{}}"#), (.DELETE, "/scheduler/schedule/s", nil),
        (.POST, "/v2/task", #"{"repo":"/r","mr":"1","targets":["//a"]}"#), (.GET, "/v2/health", nil),
        (.GET, "/readyz", nil),
    ]

    /// The routes that need no Redis.
    private static let alone: Set = ["/", "/livez", "/openapi.json"]

    @Test func everyRouteIsTested() async throws {
        let tested = Set(
            Self.requests.map { request in
                let path = request.path.prefix { $0 != "?" }
                let parts = path.split(separator: "/").map(String.init)
                let names = ["task": "id", "batch": "id", "worker": "id", "queue": "queue", "schedule": "id"]
                let shown = parts.enumerated().map { index, part in
                    index == 2 && parts[0] == "scheduler" ? ":" + (names[parts[1]] ?? part) : part
                }
                return "\(request.method.rawValue) /\(shown.joined(separator: "/"))"
            })
        let missing = try await World.shared.routes.filter { route in
            let path = route.split(separator: " ").last.map(String.init) ?? ""
            return !tested.contains(route) && !Self.alone.contains(path) && !path.contains(".")
        }
        #expect(missing.isEmpty)
    }

    /// Sends all requests at once, and returns the status and the `Retry-After` of each response.
    private func askEverything(_ world: World) async throws -> [(path: String, answer: Answer)] {
        try await withThrowingTaskGroup(of: (String, Answer).self) { group in
            for request in Self.requests {
                group.addTask {
                    (
                        "\(request.method.rawValue) \(request.path)",
                        try await world.ask(request.method, request.path, json: request.body)
                    )
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    /// 8 s are how long a call is repeated that waits for Redis, so that a response before that is no accident.
    private static let soon: Duration = .seconds(6)

    private func expectAway(_ world: World) async throws -> Set<Int> {
        let start = ContinuousClock.now
        let replies = try await askEverything(world)
        #expect(ContinuousClock.now - start < Self.soon)
        var pauses: Set<Int> = []
        for (path, answer) in replies {
            #expect(answer.status == 503, "\(path): \(answer.text.prefix(300))")
            if path == "GET /v2/health" {
                #expect(answer["reasons"][0]["code"].string == "redis_away", "\(answer.text)")
                continue
            }
            answer.expectProblem(503, code: "Internal")
            let pause = answer.headers.first(name: "Retry-After").flatMap { Int($0) } ?? 0
            #expect((1...3).contains(pause) && answer["retry_after"].int == pause, "\(path)")
            #expect(answer["message"].string?.contains("does not reply") == true, "\(path): \(answer.text)")
            pauses.insert(pause)
        }
        #expect(try await world.ask(.GET, "/livez").status == 200)
        return pauses
    }

    @Test(arguments: [(Outage.killed, true), (.refusing, false), (.stopped, true), (.silent, true), (.silent, false)])
    func everyRequestIsRefusedSoonAndServedWhenRedisIsBack(outage: Outage, ticks: Bool) async throws {
        try await run(ticks: ticks) { site in
            let world = site.world
            #expect(try await world.ask(.POST, "/scheduler/task", json: #"{"id":"before"}"#).status == 201)
            // The same replica, again and again.
            for round in 0..<2 {
                async let polled = world.ask(.GET, "/scheduler/task/before?wait=50")
                // So that it waits; one that comes later is refused too.
                try await Task.sleep(for: .milliseconds(200))
                await site.begin(outage)
                let pauses = try await expectAway(world)
                // Not all clients come back in the same second.
                #expect(pauses.count > 1)
                #expect(try await polled.status == 503)
                let refused = try await world.ask(.POST, "/scheduler/task", json: #"{"id":"r\#(round)"}"#)
                #expect(refused.status == 503)
                try await site.end(outage)
                try await eventually("it is served", within: .seconds(30)) {
                    try await world.ask(.POST, "/scheduler/task", json: #"{"id":"r\#(round)"}"#).status != 503
                }
                #expect(try await world.ask(.GET, "/scheduler/task/before").status == 200)
                #expect(try await world.ask(.GET, "/scheduler/task/r\(round)").status == 200)
                #expect(try await world.ask(.GET, "/readyz").status == 200)
                if ticks {
                    try await eventually("the health is that of before", within: .seconds(30)) {
                        let reasons = try await world.ask(.GET, "/v2/health")["reasons"]
                        return (0..<reasons.count).allSatisfy { reasons[$0]["code"].string == "no_workers" }
                    }
                }
            }
        }
    }

    /// A Redis Cluster whose nodes all stand still, and then one of them.
    @Test func aClusterThatStandsStillIsAway() async throws {
        try await ClusterFarm.run(replicas: 0) { farm in
            let client = try farm.makeClient()
            // On different nodes.
            let queues = ["default", "other", "q3"]
            let world = try await World.start(
                redis: World.shared.redis, clients: [client], queues: queues, ticks: true)
            try await eventually("all queues are served", within: .seconds(30)) {
                queues.allSatisfy { world.scheduler.health.current[$0]?.lastTick != nil }
            }
            // No primary has a Redis replica, which the first look at the servers finds.
            try await eventually("the health says so", within: .seconds(30)) {
                let reasons = try await world.ask(.GET, "/v2/health")["reasons"]
                return (0..<reasons.count).count { reasons[$0]["code"].string == "redis_replicas" } == 3
            }
            for _ in 0..<2 {
                for node in farm.nodes { await node.suspend() }
                _ = try await expectAway(world)
                for node in farm.nodes { await node.resume() }
                try await eventually("it is served", within: .seconds(30)) {
                    guard try await world.ask(.GET, "/readyz").status == 200 else { return false }
                    return try await world.ask(.POST, "/scheduler/task", json: "{}").status == 201
                }
            }
            let slots = queues.map { HashSlot.of(key: Keys(queue: $0).prefix.utf8) }
            let away = try await farm.owner(of: slots[0])
            let other = try await farm.owner(of: slots[1])
            #expect(other !== away)
            await away.suspend()
            let start = ContinuousClock.now
            let refused = try await world.ask(.GET, "/scheduler/stats?queue=default")
            let health = try await world.ask(.GET, "/v2/health")
            #expect(ContinuousClock.now - start < Self.soon)
            refused.expectProblem(503, code: "Internal")
            #expect(try await world.ask(.GET, "/scheduler/stats?queue=other").status == 200)
            #expect(refused["message"].string?.contains(away.address) == true, "\(refused.text)")
            #expect(health["reasons"][0]["message"].string?.contains(away.address) == true, "\(health.text)")
            await away.resume()
            await world.stop()
            await client.shutdown()
        }
    }

    @Test func aHostWithoutAnAddressIsAway() async throws {
        let client = RedisClient(try RedisConfiguration(url: "redis://no-such-host.invalid:6379"))
        let world = try await World.start(redis: World.shared.redis, clients: [client])
        _ = try await expectAway(world)
        await world.stop()
        await client.shutdown()
    }

    /// A link with a delay beyond what PING may take, on which something arrives all the time.
    @Test func aFarRedisIsNotAway() async throws {
        try await TestRedis.run { redis in
            let proxy = try await RedisProxy.start(to: redis) { _, direction in
                .deliver(after: direction == .reply ? .milliseconds(700) : .zero)
            }
            let client = try proxy.makeClient()
            let world = try await World.start(redis: World.shared.redis, clients: [client])
            try await eventually("it has connected", within: .seconds(30)) {
                try await world.ask(.GET, "/scheduler/stats").status == 200
            }
            for _ in 0..<3 { #expect(try await world.ask(.GET, "/scheduler/stats").status == 200) }
            await world.stop()
            await client.shutdown()
            await proxy.stop()
        }
    }

    /// A reply that takes long because it is large.
    @Test func aSlowReplyIsNotRefused() async throws {
        try await TestRedis.run { redis in
            let proxy = try await RedisProxy.start(to: redis, bytesPerSecond: 1 << 20)
            let client = try proxy.makeClient()
            let handle = try SchedulerHandle(queue: "default", client: redis.client, logger: TestRedis.quiet)
            for index in 0..<4 {
                var request = BuildRequest()
                request.payload = ByteBuffer(repeating: UInt8(ascii: "1"), count: 900_000)
                _ = try await handle.addTask(QueuedTask(request, id: "t\(index)"))
            }
            let world = try await World.start(redis: World.shared.redis, clients: [client])
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for index in 0..<4 {
                    group.addTask { try await world.ask(.GET, "/scheduler/task/t\(index)").status }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses == [200, 200, 200, 200])
            await world.stop()
            await client.shutdown()
            await proxy.stop()
        }
    }
}
