import NIOCore
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct FailureTests {
    @Test func aCancelledCallerLeavesNobodyAWrongReply() async throws {
        try await TestRedis.run { _, redis in
            _ = try await redis.send(RedisCommand("PING"))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<500 {
                    group.addTask {
                        let call = Task { try await redis.send(RedisCommand("ECHO", .integer(Int64(number)))).int }
                        if number % 3 == 0 {
                            if number % 2 == 0 { await Task.yield() }
                            call.cancel()
                        }
                        do {
                            let reply = try await call.value
                            #expect(reply == Int64(number))
                        } catch is CancellationError {
                            #expect(number % 3 == 0)
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await redis.send(RedisCommand("ECHO", "last")).string == "last")
            #expect(try await redis.send(RedisCommand("CLIENT", "LIST")).string?.split(separator: "\n").count == 1)
        }
    }

    @Test func cancellationResumesTheCallerAtOnce() async throws {
        try await TestRedis.run { _, redis in
            let second = RedisClient(redis.configuration)
            let pause = RedisCommand("CLIENT", "PAUSE", 60_000, "WRITE")
            _ = try await second.send(pause)
            let call = Task { try await redis.send(RedisCommand("SET", "a", "1"), deadline: .seconds(30)) }
            #expect(try await second.waitForBlockedClients(1))
            call.cancel()
            await #expect(throws: CancellationError.self) { try await call.value }
            // The server is still paused: the caller did not wait for the reply.
            #expect(try await second.waitForBlockedClients(1))
            _ = try await second.send(RedisCommand("CLIENT", "UNPAUSE"))
            // The cancelled command's reply comes first and is dropped.
            #expect(try await redis.send(RedisCommand("ECHO", "mine")).string == "mine")
            await second.shutdown()
        }
    }

    @Test(arguments: [1, 20]) func aLateReplyCostsItsCallerAndNobodyElse(count: Int) async throws {
        try await TestRedis.run { _, redis in
            let before = try await redis.send(RedisCommand("CLIENT", "ID"))
            let other = Task { try await redis.send(RedisCommand("BLPOP", "list", 30), deadline: .seconds(20)) }
            let probe = RedisClient(redis.configuration)
            #expect(try await probe.waitForBlockedClients(1))
            for _ in 0..<count {
                let late = try await redisError {
                    _ = try await redis.send(RedisCommand("ECHO", "x"), deadline: .milliseconds(20))
                }
                #expect(late?.kind == .deadlineExceeded)
                #expect(late?.mayHaveBeenApplied == true)
            }
            _ = try await probe.send(RedisCommand("LPUSH", "list", "here"))
            #expect(try await other.value.array?.last?.string == "here")
            #expect(try await redis.send(RedisCommand("ECHO", "mine")).string == "mine")
            #expect(try await redis.send(RedisCommand("CLIENT", "ID")) == before)
            await probe.shutdown()
        }
    }

    @Test(arguments: [RedisClient.Traffic.ordinary, .urgent])
    func aServerThatSaysNothingCostsTheConnection(traffic: RedisClient.Traffic) async throws {
        try await TestRedis.run { _, base in
            var configuration = base.configuration
            configuration.commandTimeout = traffic == .urgent ? .seconds(60) : .milliseconds(300)
            let redis = RedisClient(configuration)
            let id = RedisCommand("CLIENT", "ID")
            let before = try await redis.send(id, traffic: traffic)
            let error = try await redisError {
                _ = try await redis.send(
                    RedisCommand("BLPOP", "no-such-list", 30), deadline: traffic == .urgent ? .milliseconds(300) : nil,
                    traffic: traffic)
            }
            #expect(error?.kind == .deadlineExceeded)
            #expect(error?.mayHaveBeenApplied == true)
            #expect(try await redis.send(id, traffic: traffic) != before)
            await redis.shutdown()
        }
    }

    @Test func callsWorkAgainAfterTheServerWasKilledAndRestarted() async throws {
        try await TestRedis.run { server, redis in
            _ = try await redis.send(RedisCommand("PING"))
            await server.crash()
            let down = try await redisError { _ = try await redis.send(RedisCommand("PING"), deadline: .seconds(3)) }
            #expect(down?.kind == .connectionFailed || down?.mayHaveBeenApplied == true)
            try await server.start()
            #expect(try await redis.send(RedisCommand("PING")).string == "PONG")
        }
    }

    @Test func commandsUnderWayWhenTheServerDiesMayHaveBeenApplied() async throws {
        try await TestRedis.run { server, redis in
            let probe = RedisClient(redis.configuration)
            let call = Task { try await redis.send(RedisCommand("BLPOP", "no-such-list", 30), deadline: .seconds(20)) }
            #expect(try await probe.waitForBlockedClients(1))
            await server.crash()
            let error = try await redisError { _ = try await call.value }
            #expect(error?.kind == .connectionClosed)
            #expect(error?.mayHaveBeenApplied == true)
            await probe.shutdown()
        }
    }

    @Test func aRefusedConnectionFailsFastAndNamesEndpointAndReason() async throws {
        let port = try TestRedis.freePort()
        let redis = RedisClient(try RedisConfiguration(url: "redis://127.0.0.1:\(port)"))
        let start = ContinuousClock.now
        let error = try await redisError { _ = try await redis.send(RedisCommand("PING")) }
        #expect(ContinuousClock.now - start < .seconds(3))
        #expect(error?.kind == .connectionFailed)
        #expect(error?.mayHaveBeenApplied == false)
        #expect(error?.message == "cannot connect to 127.0.0.1:\(port): Connection refused (errno 111)")
        await redis.shutdown()

        let noSocket = RedisClient(try RedisConfiguration(url: "unix:///tmp/no-such-redis.sock"))
        let missing = try await redisError { _ = try await noSocket.send(RedisCommand("PING")) }
        #expect(missing?.message.hasPrefix("cannot connect to unix:/tmp/no-such-redis.sock: No such file") == true)
        await noSocket.shutdown()
    }

    @Test func aShortDeadlineEndsTheWaitForAConnection() async throws {
        let redis = RedisClient(try RedisConfiguration(url: "unix:///tmp/no-such-redis.sock"))
        let error = try await redisError {
            _ = try await redis.send(RedisCommand("PING"), deadline: .milliseconds(30))
        }
        #expect(error?.kind == .deadlineExceeded)
        #expect(error?.mayHaveBeenApplied == false)
        #expect(error?.message.contains("no connection to unix:/tmp/no-such-redis.sock in time") == true)
        await redis.shutdown()
    }

    @Test func aServerThatIsBusyIsAskedAgainUntilItIsNot() async throws {
        try await TestRedis.run(options: ["--busy-reply-threshold", "1"]) { server, redis in
            let probe = RedisClient(redis.configuration)
            _ = try await probe.send(RedisCommand("PING"))
            let endless = Task {
                try await redis.send(RedisCommand("EVAL", "while true do end", 0), deadline: .seconds(20))
            }
            let isBusy = try await eventually {
                try await probe.pipeline([RedisCommand("GET", "x")])[0].error?.code == "BUSY"
            }
            #expect(isBusy)
            let waiting = Task { try await probe.send(RedisCommand("SET", "x", "1")) }
            let killer = RedisClient(redis.configuration)
            _ = try await killer.send(RedisCommand("SCRIPT", "KILL"))
            #expect(try await waiting.value.string == "OK")
            #expect(try await redisError { _ = try await endless.value }?.kind == .server)
            await probe.shutdown()
            await killer.shutdown()
        }
    }

    @Test func aDemotedPrimaryCostsTheConnection() async throws {
        try await TestRedis.run { _, redis in
            let before = try await redis.send(RedisCommand("CLIENT", "ID")).int
            _ = try await redis.send(RedisCommand("REPLICAOF", "127.0.0.1", "1"))
            let error = try await redisError { _ = try await redis.send(RedisCommand("SET", "x", "1")) }
            #expect(error?.code == "READONLY")
            let after = try await redis.send(RedisCommand("CLIENT", "ID")).int
            #expect(after != nil && after != before)
        }
    }

    @Test func shutdownFailsThoseWhoWaitAndThoseWhoCome() async throws {
        try await TestRedis.run { _, redis in
            let probe = RedisClient(redis.configuration)
            let call = Task { try await redis.send(RedisCommand("BLPOP", "a", 30), deadline: .seconds(20)) }
            let blocking = Task {
                try await redis.sendBlocking(RedisCommand("BLPOP", "b", 30), timeout: .seconds(30))
            }
            #expect(try await probe.waitForBlockedClients(2))
            await redis.shutdown()
            #expect(try await redisError { _ = try await call.value }?.kind == .clientShutDown)
            #expect(try await redisError { _ = try await blocking.value }?.kind == .clientShutDown)
            #expect(try await redisError { _ = try await redis.send(RedisCommand("PING")) }?.kind == .clientShutDown)
            let late = try await redisError {
                _ = try await redis.sendBlocking(RedisCommand("BLPOP", "b", 1), timeout: .seconds(1))
            }
            #expect(late?.kind == .clientShutDown)
            #expect(try await redisError { _ = try await redis.subscribe(to: ["c"]) }?.kind == .clientShutDown)
            await probe.shutdown()
        }
    }

    @Test func shutdownFailsThoseWhoWaitForAConnection() async throws {
        let redis = RedisClient(try RedisConfiguration(url: "unix:///tmp/no-such-redis.sock"))
        let call = Task { try await redis.send(RedisCommand("PING")) }
        // The shutdown comes before, during or after the connection attempts: the call must end, and must never
        // succeed.
        await Task.yield()
        await redis.shutdown()
        let error = try await redisError { _ = try await call.value }
        #expect(error?.kind == .clientShutDown)
    }

    @Test func moreCommandsThanTheLimitAreRefusedAndNotSent() async throws {
        try await TestRedis.run { _, redis in
            let many = Array(repeating: RedisCommand("PING"), count: ConnectionState.maximumInFlight + 1)
            let error = try await redisError { _ = try await redis.pipeline(many) }
            #expect(error?.kind == .overloaded)
            #expect(error?.mayHaveBeenApplied == false)
            #expect(try await redis.pipeline(many.dropLast(1)).count == ConnectionState.maximumInFlight)
        }
    }
}
