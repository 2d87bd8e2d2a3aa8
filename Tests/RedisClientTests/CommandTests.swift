import NIOCore
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct CommandTests {
    @Test func valuesComeBackAsTheyWereSent() async throws {
        try await TestRedis.run { _, redis in
            let binary = ByteBuffer(bytes: [0, 1, 0xFF, 0xFE, 13, 10, 0, 0xC3])
            #expect(try await redis.send(RedisCommand("SET", "key", .buffer(binary))) == .simpleString("OK"))
            let reply = try await redis.send(RedisCommand("GET", "key"))
            #expect(reply == .bulkString(binary))
            #expect(reply.string == nil)
            #expect(reply.bytes == binary)
            #expect(try await redis.send(RedisCommand("GET", "missing")) == .null)
            #expect(try await redis.send(RedisCommand("INCRBY", "n", .integer(.max))) == .integer(.max))
            #expect(try await redis.send(RedisCommand("GET", "n")).int == .max)
            #expect(try await redis.send(RedisCommand("ECHO", "")) == .bulkString(ByteBuffer()))
            #expect(try await redis.send(RedisCommand("ECHO", "größer 🚂")).string == "größer 🚂")
        }
    }

    @Test func aLargeValueComesBackWhole() async throws {
        try await TestRedis.run { _, redis in
            let large = ByteBuffer(repeating: 0x41, count: 20_000_000)
            _ = try await redis.send(RedisCommand("SET", "large", .buffer(large)))
            #expect(try await redis.send(RedisCommand("GET", "large")).bytes == large)
        }
    }

    @Test func eachKindOfTrafficHasAConnectionOfItsOwn() async throws {
        try await TestRedis.run { _, redis in
            let id = RedisCommand("CLIENT", "ID")
            let kinds: [RedisClient.Traffic] = [.ordinary, .bulk, .urgent]
            var ids: [RESPValue] = []
            for traffic in kinds { ids.append(try await redis.send(id, traffic: traffic)) }
            #expect(Set(ids.compactMap(\.int)).count == 3)
            for (traffic, known) in zip(kinds, ids) { #expect(try await redis.send(id, traffic: traffic) == known) }
            #expect(try await redis.send(id) == ids[0])
        }
    }

    @Test func argumentListsAreJoined() async throws {
        try await TestRedis.run { _, redis in
            let fields: [RedisArgument] = ["a", 1, "b", 2]
            #expect(try await redis.send(RedisCommand("HSET", ["hash"], fields)) == .integer(2))
            let values = try await redis.send(RedisCommand("HMGET", "hash", "a", "b")).array
            #expect(values?.map(\.int) == [1, 2])
        }
    }

    @Test func aCommandMayHaveThousandsOfArguments() async throws {
        try await TestRedis.run { _, redis in
            let elements = (0..<10_000).map { RedisArgument($0) }
            #expect(try await redis.send(RedisCommand("RPUSH", ["list"], elements)) == .integer(10_000))
            let stored = try await redis.send(RedisCommand("LRANGE", "list", 0, -1)).array ?? []
            #expect(stored.compactMap(\.int) == Array(0..<10_000))
        }
    }

    @Test func nestedArraysAndErrorsStayValues() async throws {
        try await TestRedis.run { _, redis in
            let script = "return {1, {'two', {}, {3, redis.error_reply('DEEP inside')}}, false, 'end'}"
            let reply = try await redis.send(RedisCommand("EVAL", .string(script), 0))
            let parts = try #require(reply.array)
            #expect(parts.count == 4)
            #expect(parts[0] == .integer(1))
            let inner = try #require(parts[1].array)
            #expect(inner[1] == .array([]))
            #expect(inner[2].array?[1].error?.code == "DEEP")
            #expect(parts[2] == .null)
            #expect(parts[3].string == "end")
        }
    }

    @Test func arraysTooDeepForHiredisCostTheConnectionAndNothingElse() async throws {
        try await TestRedis.run { _, redis in
            let deep = RedisCommand("EVAL", "return {{{{{{{{{{1}}}}}}}}}}", 0)
            let error = try await redisError { _ = try await redis.send(deep) }
            #expect(error?.kind == .protocolViolation)
            #expect(error?.mayHaveBeenApplied == true)
            #expect(try await redis.send(RedisCommand("PING")).string == "PONG")
        }
    }

    @Test func anErrorReplyIsThrownWithItsCode() async throws {
        try await TestRedis.run { server, redis in
            _ = try await redis.send(RedisCommand("SET", "text", "x"))
            let wrongType = try await redisError { _ = try await redis.send(RedisCommand("LPUSH", "text", "x")) }
            #expect(wrongType?.kind == .server)
            #expect(wrongType?.code == "WRONGTYPE")
            #expect(wrongType?.mayHaveBeenApplied == false)
            #expect(wrongType?.description.contains(server.socket) == true)
            let unknown = try await redisError { _ = try await redis.send(RedisCommand("NOSUCHCOMMAND")) }
            #expect(unknown?.code == "ERR")
        }
    }

    @Test func aPipelineKeepsErrorsInTheirPlaces() async throws {
        try await TestRedis.run { _, redis in
            let replies = try await redis.pipeline([
                RedisCommand("SET", "text", "x"), RedisCommand("LPUSH", "text", "y"), RedisCommand("GET", "text"),
            ])
            #expect(replies.count == 3)
            #expect(replies[1].error?.code == "WRONGTYPE")
            #expect(replies[2].string == "x")
            #expect(try await redis.pipeline([]).isEmpty)
        }
    }

    @Test func aThousandCallersShareOneConnectionAndEachGetsHisOwnReply() async throws {
        try await TestRedis.run { _, redis in
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<1000 {
                    group.addTask {
                        try await redis.send(RedisCommand("ECHO", .integer(Int64(number)))).int == Int64(number)
                    }
                }
                for try await isMine in group { #expect(isMine) }
            }
            let clients = try await redis.send(RedisCommand("CLIENT", "LIST")).string ?? ""
            #expect(clients.split(separator: "\n").count == 1)
            #expect(clients.contains("name=redis-client"))
        }
    }

    @Test func theDatabaseIsSelected() async throws {
        try await TestRedis.run { server, redis in
            let other = RedisClient(try RedisConfiguration(url: server.url + "?db=3&name=other"))
            _ = try await other.send(RedisCommand("SET", "here", "1"))
            #expect(try await redis.send(RedisCommand("EXISTS", "here")) == .integer(0))
            #expect(try await other.send(RedisCommand("CLIENT", "INFO")).string?.contains("db=3") == true)
            await other.shutdown()
        }
    }
}
