import ChildProcess
import Foundation
import RedisClient
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// What a replica and a worker do with a Redis that they must not use, and at their end with one that is away.
@Suite(.serialized) struct RefusedRedisTests {
    @Test func aRedisReplicaIsRefusedBeforeAURLIsPrinted() async throws {
        try await TestRedis.run { redis in
            _ = try await redis.client.send(RedisCommand("REPLICAOF", "127.0.0.1", "1"))
            for arguments in [["serve", "--listen", "127.0.0.1:0"], ["worker", "--no-op"], ["doctor"]] {
                let refused = try await Tool.run(arguments + ["--redis", redis.url])
                let text = refused.stdout + refused.stderr
                #expect(refused.exitCode == (arguments[0] == "doctor" ? 1 : 64), "\(arguments) \(text)")
                #expect(text.contains("Redis replica, which refuses writes"), "\(arguments) \(text)")
                #expect(!text.contains("http://127.0.0.1:"), "\(arguments) \(text)")
                if arguments[0] != "doctor" { #expect(text.contains("redis://127.0.0.1:1,"), "\(text)") }
            }
        }
    }

    /// It starts while Redis is away, and says where it listens.
    @Test func aRedisThatIsAwayIsWaitedFor() async throws {
        try await TestRedis.run { redis in
            await redis.kill()
            let replica = try await Tool.start(["serve", "--listen", "127.0.0.1:0", "--redis", redis.url])
            _ = try await Tool.eventually("serve prints its URL: \(replica.stderr)") {
                replica.stderr.contains("listening") ? true : nil
            }
            replica.process.signalGroup(SIGINT)
            #expect(try await replica.end().exitCode == 0)
        }
    }

    /// A password that is wrong from the start is an error of the configuration. One that was right may be again.
    @Test func aWorkerWithAWrongPasswordEndsUnlessItWasConnected() async throws {
        try await TestRedis.run { redis in
            func set(_ password: String) async throws {
                _ = try await redis.client.send(
                    RedisCommand(
                        "ACL", "SETUSER", "w", "reset", "on", .string(">\(password)"), "~*", "&*", "+@all"))
            }
            try await set("right")
            let wrong = try await Tool.run(["worker", "--no-op", "--redis", redis.url + "?user=w&password=wrong"])
            #expect(wrong.exitCode == 64, "\(wrong.stderr)")
            #expect(wrong.stderr.contains("refuses the login"), "\(wrong.stderr)")
            #expect(!wrong.stderr.contains("password=wrong"))

            let worker = try await Tool.start(
                ["worker", "--no-op", "--id", "w1", "--redis", redis.url + "?user=w&password=right"])
            _ = try await Tool.eventually("it registers: \(worker.stderr)") { () -> Bool? in
                let key = RedisCommand("EXISTS", "switchyard:{default}:worker:w1")
                return try await redis.client.send(key).int == 1 ? true : nil
            }
            try await set("other")
            _ = try await redis.client.send(RedisCommand("CLIENT", "KILL", "USER", "w"))
            _ = try await Tool.eventually("it is refused: \(worker.stderr)") {
                worker.stderr.contains("refuses the login") ? true : nil
            }
            try await set("right")
            // The functions that it waits for are there: its heartbeats are heard again.
            _ = try await Tool.eventually("it is connected: \(worker.stderr)") { () -> Bool? in
                let list = RedisCommand("CLIENT", "LIST")
                return try await redis.client.send(list).string?.contains("user=w ") == true ? true : nil
            }
            #expect(worker.process.exitStatus == nil)
            worker.process.signalGroup(SIGINT)
            #expect(try await worker.end().exitCode == 0)
        }
    }

    /// A sleep in Redis takes 30 s, and a call to a Redis that stands still is repeated for long.
    @Test func anIdleWorkerEndsAlthoughRedisStandsStill() async throws {
        try await TestRedis.run { redis in
            let info = try await redis.client.send(RedisCommand("INFO", "server")).string ?? ""
            let id = try #require(info.firstMatch(of: #/process_id:(\d+)/#).flatMap { pid_t($0.1) })
            defer { kill(id, SIGCONT) }
            let worker = try await Tool.start(["worker", "--no-op", "--id", "w1", "--redis", redis.url])
            _ = try await Tool.eventually("it sleeps: \(worker.stderr)") { () -> Bool? in
                let list = RedisCommand("CLIENT", "LIST")
                return try await redis.client.send(list).string?.contains("cmd=blpop") == true ? true : nil
            }
            kill(id, SIGSTOP)
            worker.process.signalGroup(SIGINT)
            #expect(try await worker.end(within: .seconds(25)).exitCode == 0)
        }
    }
}
