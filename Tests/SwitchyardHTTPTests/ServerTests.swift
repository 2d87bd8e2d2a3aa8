import AsyncHTTPClient
import Foundation
import Logging
import RedisClient
import ServiceLifecycle
import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct ServerTests {
    @Test func anUnknownAddressIsAProblem() async throws {
        let world = try await World.shared
        for path in ["/nothing", "/scheduler", "/scheduler/task/a/b/c", "/scheduler/task/../../etc/passwd"] {
            try await world.ask(.GET, path).expectProblem(404, code: "NotFound")
        }
        try await world.ask(.POST, "/v3/task", json: "{}").expectProblem(404, code: "NotFound")
    }

    @Test func anotherMethodIsToldWhichThereAre() async throws {
        let world = try await World.shared
        let answer = try await world.ask(.PUT, "/scheduler/task/a")
        answer.expectProblem(405, code: "MethodNotAllowed")
        #expect(answer.headers.first(name: "Allow") == "GET, DELETE, PATCH, HEAD")
        try await world.ask(.GET, "/scheduler/task").expectProblem(405, code: "MethodNotAllowed")
        try await world.ask(.POST, "/v2/health").expectProblem(405, code: "MethodNotAllowed")
    }

    @Test func aPageOfAnotherSiteMayChangeNothing() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await world.ask(
            .POST, "/scheduler/queue/\(queue)/pause", headers: [("Origin", "https://evil.example")]
        ).expectProblem(403, code: "Forbidden", field: "Origin")
        #expect(try await world.redis.keys(of: queue).isEmpty)
        _ = try await world.submit("{}", queue: queue)
        let own = try await world.ask(
            .POST, "/scheduler/queue/\(queue)/pause", headers: [("Origin", "http://127.0.0.1:\(world.port)")])
        #expect(own.status == 200)
    }

    @Test(arguments: [
        ("/", "text/html"), ("/dashboard.css", "text/css"), ("/dashboard.js", "text/javascript"),
        ("/elements.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ])
    func theDashboardIsServedUnderAStrictPolicy(path: String, type: String) async throws {
        let world = try await World.shared
        let answer = try await world.ask(.GET, path)
        #expect(answer.status == 200)
        #expect(answer.headers.first(name: "Content-Type")?.hasPrefix(type) == true)
        #expect(answer.body.readableBytes > 100)
        let policy = try #require(answer.headers.first(name: "Content-Security-Policy"))
        #expect(policy.hasPrefix("default-src 'none'; script-src 'self'; style-src 'self'"))
        #expect(!policy.contains("unsafe"))
        #expect(answer.headers.first(name: "X-Content-Type-Options") == "nosniff")
        #expect(!answer.text.contains("innerHTML"))
        #expect(!answer.text.contains("style=\""))
    }

    @Test func aGracefulShutdownEndsLongPollsAndFollowers() async throws {
        let shared = try await World.shared
        // The follower waits in one queue and the poll in another, so that the test can see both.
        let (queue, polledQueue) = (shared.newQueue(), shared.newQueue())
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let scheduler = try TaskScheduler(client: shared.redis.client, queues: [queue])
        let (ports, port) = AsyncStream.makeStream(of: Int.self)
        var options = HTTPServerOptions()
        options.port = 0
        let server = HTTPServer(scheduler: scheduler, options: options, logger: logger) { port.yield($0) }
        let group = ServiceGroup(services: [server], logger: logger)
        async let stopped: Void = group.run()
        var iterator = ports.makeAsyncIterator()
        let number = try #require(await iterator.next())
        let id = try await shared.submit("{}", queue: queue)
        let polledID = try await shared.submit("{}", queue: polledQueue)
        let base = "http://127.0.0.1:\(number)/scheduler/task"

        let start = ContinuousClock.now
        async let polled = HTTPClient.shared.execute(
            HTTPClientRequest(url: "\(base)/\(polledID)?queue=\(polledQueue)&wait=50"), timeout: .seconds(60))
        try await eventually("the poll waits") {
            let channels = try await shared.redis.client.send(
                RedisCommand("PUBSUB", "CHANNELS", .string("switchyard:{\(polledQueue)}:events")))
            return channels.array?.isEmpty == false
        }
        // Second, because it subscribes too: the poll must have arrived.
        let following = try await HTTPClient.shared.execute(
            HTTPClientRequest(url: "\(base)/\(id)/log?queue=\(queue)&follow=1"), timeout: .seconds(60))
        await group.triggerGracefulShutdown()
        #expect(try await polled.status == .ok)
        let rest = String(buffer: try await following.body.collect(upTo: 1 << 20))
        #expect(!rest.contains("event: end"))
        try await stopped
        #expect(ContinuousClock.now - start < .seconds(20))
    }
}
