import FoundationEssentials
import Glibc
import Testing

@testable import PrivateRedis

/// An append-only file that was cut at its tail.
@Suite("A cut append-only file") struct AppendOnlyFileTests {
    private func redis(_ server: PrivateRedisServer, _ command: String...) async throws -> String {
        let lines = try await run(["redis-cli", "-s", server.socketPath] + command).text.split(separator: "\n")
        return lines.joined(separator: "\n")
    }

    private func set(_ server: PrivateRedisServer, _ value: String, keys: String = "abc") async throws {
        let sets = keys.map { "redis.call('SET', '\($0)', '\(value)') " }.joined()
        _ = try await redis(server, "EVAL", sets, "0")
    }

    /// Wherever the file is cut, a transaction is there as a whole or not at all, also after further writes and starts.
    @Test(arguments: [0, 1, 5, 14, 15, 16, 30, 44, 70, 100, 109, 110])
    func hasNoPartOfATransaction(cut: Int) async throws {
        let directory = try temporaryDirectory()
        defer { remove(directory) }
        var server = try await PrivateRedisServer.start(.init(directory: directory))
        try await set(server, "1")
        let path = directory + "/appendonlydir/appendonly.aof.1.incr.aof"
        let first = try #require(FileManager.default.contents(atPath: path)).count
        try await set(server, "2")
        await server.stop()
        let all = try #require(FileManager.default.contents(atPath: path))
        let length = all.count - cut
        try #require(length >= first)
        truncate(path, off_t(length))

        server = try await PrivateRedisServer.start(.init(directory: directory))
        let value = cut == 0 ? "2" : "1"
        let expected = "\(value)\n\(value)\n\(value)"
        #expect(try await redis(server, "MGET", "a", "b", "c") == expected)
        try await set(server, "3", keys: "de")
        for _ in 1...2 {
            await server.kill()
            try await server.restart()
            #expect(try await redis(server, "MGET", "a", "b", "c", "d", "e") == expected + "\n3\n3")
        }
        await server.stop()
        let log = try String(contentsOfFile: directory + "/redis.log", encoding: .utf8)
        #expect(!log.contains("nested"))
    }

    private static let multi = "*1\r\n$5\r\nMULTI\r\n"
    private static let exec = "*1\r\n$4\r\nEXEC\r\n"
    private static let set = "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$4\r\nE\r\nC\r\n"

    private static let whole = multi + set + exec

    /// Texts, and where their last whole transaction ends; -1: Redis refuses them.
    private static let ends: [(String, Int)] = [
        ("", 0), (set, set.utf8.count), (set + "*3\r\n$3\r\nse", set.utf8.count), (set + multi, set.utf8.count),
        (set + multi + set, set.utf8.count), (whole, whole.utf8.count),
        (whole + multi + set + "*1\r\n$4\r\nEX", whole.utf8.count),
        ("#TS:1700000000\r\n" + set, set.utf8.count + 16), (set + "#TS:17", set.utf8.count), ("*", 0),
        ("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$4000\r\nE", 0),
        ("REDIS0010", -1), (set + "x", -1), ("*1\r\n$-1\r\n", -1), ("*x\r\n", -1), ("*1\r\n$1\r\nabc", -1),
        (multi + set + multi, -1),
    ]

    @Test(arguments: ends)
    func endsWhereTheLastWholeTransactionDoes(text: String, end: Int) {
        var text = text
        #expect(text.withUTF8 { AppendOnlyFile.finishedEnd(of: UnsafeRawBufferPointer($0)) } ?? -1 == end)
    }

    @Test(arguments: [
        "", "file appendonly.aof.1.base.rdb seq 1 type b\n", "file ../x seq 1 type i\n", "file missing seq 1 type i\n",
    ])
    func withoutALastFileNothingIsCut(manifest: String) throws {
        let directory = try temporaryDirectory()
        defer { remove(directory) }
        mkdir(directory + "/appendonlydir", 0o700)
        try "*".write(toFile: directory + "/x", atomically: false, encoding: .utf8)
        try manifest.write(
            toFile: directory + "/appendonlydir/appendonly.aof.manifest", atomically: false, encoding: .utf8)
        #expect(try AppendOnlyFile.cutUnfinishedEnd(directory: directory) == 0)
        #expect(FileManager.default.contents(atPath: directory + "/x")?.count == 1)
    }
}
