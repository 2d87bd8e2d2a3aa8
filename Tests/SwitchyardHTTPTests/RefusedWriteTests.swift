import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardHTTP

/// A Redis that is there and refuses writes: a Redis replica, or a primary that has too few of them.
@Suite(.serialized) struct RefusedWriteTests {
    private func codes(_ health: Answer) -> [String] {
        (0..<health["reasons"].count).compactMap { health["reasons"][$0]["code"].string }
    }

    /// 5 s are how long the client of Redis repeats what a server refuses for now.
    private static let soon: Duration = .seconds(4)

    /// The functions are there, and what only reads works. The setting comes before and after the first task.
    @Test(arguments: [false, true]) func aPrimaryWithTooFewReplicasRefusesClearly(hasTask: Bool) async throws {
        try await TestRedis.run { redis in
            let world = try await World.start(redis: World.shared.redis, clients: [redis.client])
            if hasTask { #expect(try await world.ask(.POST, "/scheduler/task", json: "{}").status == 201) }
            _ = try await redis.client.send(RedisCommand("CONFIG", "SET", "min-replicas-to-write", "1"))
            for path in ["/scheduler/task", "/scheduler/tasks"] {
                let start = ContinuousClock.now
                let refused = try await world.ask(
                    .POST, path, json: path == "/scheduler/task" ? #"{"id":"t"}"# : #"[{"id":"t"},{"id":"u"}]"#)
                #expect(ContinuousClock.now - start < Self.soon)
                refused.expectProblem(503, code: "Internal")
                #expect(refused.headers.first(name: "Retry-After") != nil)
                #expect(refused["applied"] == .bool(false), "\(refused.text)")
                #expect(refused["message"].string?.contains("min-replicas-to-write") == true, "\(refused.text)")
            }
            #expect(!codes(try await world.ask(.GET, "/v2/health")).contains("redis_away"))
            _ = try await redis.client.send(RedisCommand("CONFIG", "SET", "min-replicas-to-write", "0"))
            #expect(try await world.ask(.GET, "/scheduler/task/t").status == 404)
            #expect(try await world.ask(.POST, "/scheduler/task", json: #"{"id":"t"}"#).status == 201)
            await world.stop()
        }
    }

    /// A server that becomes a Redis replica while it is used, and a primary again.
    @Test func aServerThatIsDemotedIsNotReady() async throws {
        try await TestRedis.run { redis in
            let world = try await World.start(redis: World.shared.redis, clients: [redis.client], ticks: true)
            try await eventually("it is served", within: .seconds(30)) {
                world.scheduler.health.current["default"]?.lastTick != nil
            }
            for _ in 0..<2 {
                _ = try await redis.client.send(RedisCommand("REPLICAOF", "127.0.0.1", "1"))
                try await eventually("it is not ready", within: .seconds(30)) {
                    try await world.ask(.GET, "/readyz").status == 503
                }
                let ready = try await world.ask(.GET, "/readyz")
                ready.expectProblem(503, code: "Internal")
                #expect(ready["message"].string?.contains("use the URL of its primary") == true, "\(ready.text)")
                let start = ContinuousClock.now
                let health = try await world.ask(.GET, "/v2/health")
                #expect(ContinuousClock.now - start < Self.soon)
                #expect(health.status == 503 && codes(health).contains("redis_role"), "\(health.text)")
                #expect(!codes(health).contains("redis_away"))
                _ = try await redis.client.send(RedisCommand("REPLICAOF", "NO", "ONE"))
                try await eventually("it is ready", within: .seconds(30)) {
                    try await world.ask(.GET, "/readyz").status == 200
                }
            }
            await world.stop()
        }
    }
}
