import ChildProcess
import FoundationEssentials
import Glibc
import PrivateRedis
import Testing

/// Which directories a private redis-server takes: empty ones, and those that Switchyard made.
@Suite struct DataDirectories {
    /// Runs `body` with a directory that is removed afterwards.
    private func withDirectory(_ mode: mode_t = 0o700, _ body: (String) async throws -> Void) async throws {
        let directory = try temporaryDirectory()
        defer { remove(directory) }
        chmod(directory, mode)
        try await body(directory)
    }

    private func write(_ text: String, _ path: String) throws { try Data(text.utf8).write(to: URL(filePath: path)) }

    private func files(_ directory: String) throws -> [String: Data] {
        var found: [String: Data] = [:]
        for name in try FileManager.default.subpathsOfDirectory(atPath: directory) {
            let url = URL(filePath: directory + "/" + name)
            found[name] = (try? Data(contentsOf: url)) ?? Data("a directory".utf8)
        }
        return found
    }

    private func redis(_ server: PrivateRedisServer, _ command: String...) async throws -> String {
        try await run(["redis-cli", "-s", server.socketPath] + command).lines.first ?? ""
    }

    @Test(
        arguments: [
            ["thesis.txt"], ["redis.conf"], ["appendonlydir/appendonly.aof.manifest"], ["dump.rdb", "redis.conf"],
            ["lock", "redis.conf"], ["lock", "redis.sock", "x"], [".hidden"],
        ], [0o700, 0o755, 0o777] as [mode_t])
    func aForeignOneIsRefusedAndLeftAlone(names: [String], mode: mode_t) async throws {
        try await withDirectory(mode) { directory in
            for name in names {
                let path = directory + "/" + name
                if let slash = path.lastIndex(of: "/") {
                    try FileManager.default.createDirectory(
                        atPath: String(path[..<slash]), withIntermediateDirectories: true)
                }
                try write("# foreign \(name)\nport 1\n", path)
            }
            let before = try files(directory)
            let error = try await #require(throws: PrivateRedisError.self) {
                let server = try await PrivateRedisServer.start(.init(directory: directory))
                await server.stop()
            }
            #expect(error.description.contains(directory))
            #expect(error.description.contains("no redis.conf written by Switchyard"), "\(error)")
            #expect(error.description.contains("Choose another directory"))
            #expect(try files(directory) == before)
            var status = stat()
            #expect(stat(directory, &status) == 0 && status.st_mode & 0o777 == mode)
        }
    }

    /// What a start leaves that is killed before redis.conf is written, and what one finds that was.
    @Test(
        arguments: [[], ["lock"], ["lock", "redis.sock"], ["lock", "redis.conf.new"]],
        [0o700, 0o755] as [mode_t])
    func anEmptyOneIsTakenAndMadePrivate(names: [String], mode: mode_t) async throws {
        try await withDirectory(mode) { directory in
            for name in names { try write("", directory + "/" + name) }
            let server = try await PrivateRedisServer.start(.init(directory: directory))
            #expect(try await redis(server, "PING") == "PONG")
            await server.stop()
            var status = stat()
            #expect(stat(directory, &status) == 0 && status.st_mode & 0o777 == 0o700)
            #expect(!FileManager.default.fileExists(atPath: directory + "/redis.conf.new"))
        }
    }

    /// The first line of redis.conf is the mark; it is the same in all versions. The other lines are not looked at.
    @Test(arguments: ["", "\nport 0\n", ": changes to this file are lost. Use extra arguments instead.\n\nport 0\n"])
    func oneOfAnEarlierVersionIsTakenWithItsData(rest: String) async throws {
        try await withDirectory { directory in
            let first = try await PrivateRedisServer.start(.init(directory: directory, appendfsync: .always))
            #expect(try await redis(first, "SET", "key", "value") == "OK")
            await first.stop()
            try write("# Written by Switchyard at each start" + rest, directory + "/redis.conf")
            try write("kept", directory + "/notes.txt")
            let second = try await PrivateRedisServer.start(.init(directory: directory))
            #expect(try await redis(second, "GET", "key") == "value")
            await second.stop()
            #expect(try files(directory)["notes.txt"] == Data("kept".utf8))
        }
    }
}
