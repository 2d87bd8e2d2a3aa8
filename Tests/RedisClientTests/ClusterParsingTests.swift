import NIOCore
import Testing

@testable import RedisClient

/// What the client reads from commands, from tables of slots and from redirections, without a server.
@Suite struct ClusterParsingTests {
    @Test(
        arguments: [
            (RedisCommand("GET", "k"), "k"), (RedisCommand("get", "k"), "k"), (RedisCommand("SET", "", "v"), ""),
            (RedisCommand("MGET", "a", "b"), "a"),
            (RedisCommand("FCALL", "f", 2, "p", "c", "x"), "p"), (RedisCommand("fcall_ro", "f", 1, "p"), "p"),
            (RedisCommand("EVAL", "return '\r\n$1\r\n'", 12, "k"), "k"),
            (RedisCommand("BLPOP", "list", "0.1"), "list"),
            (RedisCommand("XREAD", "COUNT", 10, "BLOCK", 5, "streams", "log", "0"), "log"),
            (RedisCommand("PUBSUB", "SHARDNUMSUB", "channel"), "channel"),
            (RedisCommand("SPUBLISH", "channel", "m"), "channel"), (RedisCommand("MEMORY", "USAGE", "k"), "k"),
            (RedisCommand("GET", .buffer(ByteBuffer(bytes: [123, 200, 125, 13, 10]))), nil),
        ] as [(RedisCommand, String?)])
    func theFirstKeySelectsTheSlot(_ command: RedisCommand, key: String?) {
        let expected = key.map { HashSlot.of(key: $0.utf8) } ?? HashSlot.of(bytes: [200] as [UInt8])
        #expect(command.slot == expected)
    }

    @Test(arguments: [
        RedisCommand("PING"), RedisCommand("FCALL", "switchyard_version", 0), RedisCommand("EVAL", "return 1", 0),
        RedisCommand("INFO", "server"), RedisCommand("SCAN", "0"), RedisCommand("FUNCTION", "LIST"),
        RedisCommand("FCALL", "f"), RedisCommand("XREAD", "COUNT", 1), RedisCommand("GET"), RedisCommand("FCALL"),
        RedisCommand("FCALL", "f", "many", "k"), RedisCommand("PUBLISH", "c", "m"),
    ])
    func aCommandWithoutKeysHasNoSlot(_ command: RedisCommand) {
        #expect(command.slot == nil)
    }

    @Test func aTableIsReadWithItsGaps() throws {
        func node(_ host: RESPValue, _ port: Int64) -> RESPValue {
            .array([host, .integer(port), .simpleString("id")])
        }
        let a = node(.simpleString("10.0.0.1"), 1)
        let b = node(.simpleString("::1"), 2)
        let hostless = node(.null, 3)
        let unknown = node(.simpleString("?"), 4)
        let reply = RESPValue.array([
            .array([.integer(0), .integer(9), a, hostless]), .array([.integer(20), .integer(20), b]),
            .array([.integer(30), .integer(39), a]), .array([.integer(16383), .integer(16383), unknown]),
            .array([.integer(16383), .integer(16384), a]), .array([.integer(-1), .integer(4), b]),
            .array([.integer(9), .integer(8), b]), .array([.integer(1)]), .null,
            .array([.integer(1), .integer(2), .null]),
        ])
        var table = try #require(SlotTable(reply, from: .tcp(host: "seed", port: 9)))
        #expect(table.owner(of: 0) == .tcp(host: "10.0.0.1", port: 1))
        #expect(table.owner(of: 9) == .tcp(host: "10.0.0.1", port: 1))
        #expect(table.owner(of: 10) == nil)
        #expect(table.owner(of: 20) == .tcp(host: "::1", port: 2))
        #expect(table.owner(of: 39) == .tcp(host: "10.0.0.1", port: 1))
        #expect(table.owner(of: 16383) == .tcp(host: "seed", port: 4))
        #expect(table.primaries.count == 3)
        #expect(table.replicas == [.tcp(host: "seed", port: 3)])
        table.learn(10, isAt: .tcp(host: "seed", port: 3))
        #expect(table.owner(of: 10) == .tcp(host: "seed", port: 3))
        #expect(table.replicas.isEmpty)
        for empty in [RESPValue.array([]), .null, .simpleString("OK")] {
            #expect(SlotTable(empty, from: .tcp(host: "seed", port: 9)) == nil)
        }
    }

    @Test(
        arguments: [
            ("MOVED 3999 127.0.0.1:6381", Redirection.moved(slot: 3999, to: .tcp(host: "127.0.0.1", port: 6381))),
            ("ASK 0 ::1:1", .ask(.tcp(host: "::1", port: 1))),
            ("ASK 16383 :7000", .ask(.tcp(host: "seed", port: 7000))),
            ("MOVED 1 ?:7", .moved(slot: 1, to: .tcp(host: "seed", port: 7))), ("MOVED 16384 a:1", nil),
            ("MOVED 1 a", nil),
            ("MOVED 1 a:0", nil), ("MOVED x a:1", nil), ("MOVED", nil), ("MOVED 1 a:1 b", nil),
            ("ERR MOVED 1 a:1", nil),
            ("TRYAGAIN Multiple keys", nil),
        ] as [(String, Redirection?)])
    func aRedirectionIsRead(_ message: String, expected: Redirection?) {
        #expect(Redirection(.server(message, endpoint: "e"), from: .tcp(host: "seed", port: 9)) == expected)
    }
}
