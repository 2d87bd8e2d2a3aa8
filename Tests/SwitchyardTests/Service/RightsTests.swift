import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Users of Redis with fewer rights than the scheduler needs.
@Suite("Rights in Redis")
struct RightsTests {
    /// A client that is logged in as a user with these rules.
    private func login(_ rules: String, _ redis: TestRedis) async throws -> RedisClient {
        let words = rules.split(separator: " ").map { RedisArgument.string(String($0)) }
        _ = try await redis.client.send(RedisCommand("ACL", ["SETUSER", "limited", "reset", "on", ">secret"] + words))
        var configuration = redis.client.configuration
        configuration.username = "limited"
        configuration.password = "secret"
        return RedisClient(configuration)
    }

    private func missing(_ rules: String) async throws -> [String] {
        try await TestRedis.run { redis in
            let client = try await login(rules, redis)
            defer { Task { await client.shutdown() } }
            let functions = QueueFunctions(queue: "default", client: client, logger: TestRedis.quiet)
            return try await functions.call("rights", []).array?.compactMap(\.string) ?? []
        }
    }

    @Test func aUserWithAllRightsLacksNothing() async throws {
        #expect(try await missing("~* &* +@all") == [])
        #expect(try await missing("~switchyard:* &switchyard:* +@all -@admin") == [])
    }

    @Test func whatIsMissingIsNamed() async throws {
        let channels = try await missing("~* +@all")
        #expect(channels.contains("PUBLISH switchyard:{default}:events"))
        #expect(channels.allSatisfy { $0.hasPrefix("PUBLISH") || $0.hasPrefix("SUBSCRIBE") })
        #expect(
            try await missing("~* &* +@all -xadd -blpop") == [
                "BLPOP switchyard:{default}:wake", "XADD switchyard:{default}:log",
            ])
        #expect(
            try await missing("~switchyard:{default}:* &* +@all") == [
                "SADD switchyard:queues", "SMEMBERS switchyard:queues",
            ])
    }

    /// Redis grants no channel to a new user.
    @Test(arguments: ["submit", "register", "finish", "cancel", "configure", "tick", "schedule"])
    func withoutChannelsNoCallDoesHalf(function: String) async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis) { queue in
                try await queue.register("w", slots: 3)
                try await queue.submit("pending")
                _ = try await queue.call("submit", "task", "one", "task", "two")
                _ = try await queue.take("w")
                let before = try await queue.snapshot()
                let client = try await login("~* +@all", redis)
                let arguments: [RedisArgument] =
                    switch function {
                    case "submit": ["task", "new"]
                    case "register": ["worker", "x", "slots", "1"]
                    case "finish":
                        ["worker", "w", "task", "pending", "attempt", "1", "outcome", "completed", "pull", "2"]
                    case "cancel": ["task", "one"]
                    case "configure": ["paused", "1"]
                    case "schedule":
                        [
                            "schedule", "s", "cron", "* * * * *", "zone", "UTC", "next", "99999999999999", "template",
                            #"["task","x"]"#,
                        ]
                    default: []
                    }
                let code = try await refusal {
                    _ = try await client.send(
                        RedisCommand(
                            "FCALL",
                            [
                                .string("switchyard_" + function), 2, .string(queue.keys.prefix),
                                .string(queue.keys.config),
                            ],
                            arguments))
                }
                await client.shutdown()
                #expect(code == "NOPERM")
                #expect(try await queue.snapshot().changes(since: before) == [])
            }
        }
    }

    /// The function knows every command that the functions send.
    @Test func everyCommandOfTheFunctionsIsChecked() async throws {
        let source = FunctionLibrary.source
        let sent = Set(source.matches(of: #/(?:call|pcall_redis)\(\s*'([A-Z]+)'/#).map { String($0.1) })
        #expect(sent.count > 30)
        let known = Set(
            try await missing("~* &* -@all +fcall +time +hget +hgetall").map { $0.prefix { $0 != " " } }
                .map(String.init))
        // The function itself needs HGET and HGETALL. Without INFO the budget of logs is the fixed one.
        let others: Set = ["TIME", "SCAN", "HGET", "HGETALL", "INFO"]
        #expect(sent.subtracting(known).subtracting(others) == [])
    }
}
