import NIOCore
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct BlockingTests {
    @Test func aBlockingPopGetsWhatIsPushedWhileOthersWork() async throws {
        try await TestRedis.run { _, redis in
            let pop = Task { try await redis.sendBlocking(RedisCommand("BLPOP", "list", 10), timeout: .seconds(10)) }
            #expect(try await redis.waitForBlockedClients(1))
            _ = try await redis.send(RedisCommand("RPUSH", "list", "element"))
            #expect(try await pop.value.array?.map(\.string) == ["list", "element"])
        }
    }

    @Test func anEmptyBlockingPopIsNullAndItsConnectionIsUsedAgain() async throws {
        try await TestRedis.run { _, redis in
            for _ in 0..<3 {
                let reply = try await redis.sendBlocking(
                    RedisCommand("BLPOP", "list", "0.05"), timeout: .milliseconds(50))
                #expect(reply.isNull)
            }
            let clients = try await redis.send(RedisCommand("CLIENT", "LIST")).string ?? ""
            #expect(clients.split(separator: "\n").count == 2)
        }
    }

    @Test func concurrentBlockingPopsHaveAConnectionEach() async throws {
        try await TestRedis.run { _, redis in
            let pops = (0..<5).map { number in
                Task { try await redis.sendBlocking(RedisCommand("BLPOP", "list\(number)", 10), timeout: .seconds(10)) }
            }
            #expect(try await redis.waitForBlockedClients(5))
            for number in 0..<5 {
                _ = try await redis.send(RedisCommand("RPUSH", "list\(number)", .integer(Int64(number))))
            }
            for (number, pop) in pops.enumerated() {
                #expect(try await pop.value.array?[1].int == Int64(number))
            }
        }
    }

    @Test func aCancelledBlockingPopLosesItsConnectionAndNotTheClient() async throws {
        try await TestRedis.run { _, redis in
            let pop = Task { try await redis.sendBlocking(RedisCommand("BLPOP", "list", 30), timeout: .seconds(30)) }
            #expect(try await redis.waitForBlockedClients(1))
            pop.cancel()
            await #expect(throws: CancellationError.self) { try await pop.value }
            // The server has noticed that the connection is closed, so it hands nothing that is pushed now to that
            // client.
            #expect(try await redis.waitForBlockedClients(0))
            _ = try await redis.send(RedisCommand("RPUSH", "list", "kept"))
            let next = try await redis.sendBlocking(RedisCommand("BLPOP", "list", 10), timeout: .seconds(10))
            #expect(next.array?[1].string == "kept")
        }
    }

    @Test func aBlockingPopWorksAfterARestart() async throws {
        try await TestRedis.run { server, redis in
            let empty = RedisCommand("BLPOP", "list", "0.01")
            #expect(try await redis.sendBlocking(empty, timeout: .milliseconds(10)).isNull)
            await server.crash()
            try await server.start()
            let again = await eventually {
                (try? await redis.sendBlocking(empty, timeout: .milliseconds(10)))?.isNull == true
            }
            #expect(again)
        }
    }

    @Test func aBlockingCommandOnAFrozenServerEndsAtItsDeadline() async throws {
        try await TestRedis.run { server, redis in
            var configuration = redis.configuration
            configuration.commandTimeout = .seconds(1)
            let impatient = RedisClient(configuration)
            let empty = RedisCommand("BLPOP", "list", "0.01")
            #expect(try await impatient.sendBlocking(empty, timeout: .milliseconds(10)).isNull)
            await server.freeze()
            let error = try await redisError {
                _ = try await impatient.sendBlocking(empty, timeout: .milliseconds(10))
            }
            #expect(error?.kind == .deadlineExceeded)
            #expect(error?.mayHaveBeenApplied == true)
            await server.unfreeze()
            #expect(try await impatient.sendBlocking(empty, timeout: .milliseconds(10)).isNull)
            await impatient.shutdown()
        }
    }
}
