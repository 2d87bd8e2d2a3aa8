import ChildProcess
import FoundationEssentials
import Glibc
import PrivateRedis
import Testing

@Suite struct ThePrivateServer {
    private func redis(_ server: PrivateRedisServer, _ command: String...) async throws -> String {
        try await run(["redis-cli", "-s", server.socketPath] + command).text.trimmed
    }

    /// Runs `body` with a directory that is removed afterwards.
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let directory = try temporaryDirectory()
        defer { remove(directory) }
        try await body(directory)
    }

    private func mode(_ path: String) -> UInt32 {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    @Test func itAnswersOnAPrivateSocketAndNowhereElse() async throws {
        try await withDirectory { directory in
            let server = try await PrivateRedisServer.start(.init(directory: directory + "/a/b"))
            #expect(server.url == "unix://\(directory)/a/b/redis.sock")
            #expect(try await redis(server, "PING") == "PONG")
            #expect(try await redis(server, "CONFIG", "GET", "port") == "port\n0")
            #expect(try await redis(server, "CONFIG", "GET", "appendonly") == "appendonly\nyes")
            #expect(try await redis(server, "CONFIG", "GET", "maxmemory-policy") == "maxmemory-policy\nnoeviction")
            #expect(try await redis(server, "CONFIG", "GET", "save") == "save")
            #expect(mode(server.socketPath) == 0o700)
            #expect(mode(server.directoryPath) == 0o700)
            await server.stop()
            #expect(await server.processID == nil)
            await server.stop()
        }
    }

    @Test func dataSurvivesStopAndStart() async throws {
        try await withDirectory { directory in
            let first = try await PrivateRedisServer.start(.init(directory: directory, appendfsync: .always))
            #expect(try await redis(first, "SET", "key", "value") == "OK")
            await first.stop()
            let second = try await PrivateRedisServer.start(.init(directory: directory))
            #expect(try await redis(second, "GET", "key") == "value")
            await second.stop()
        }
    }

    @Test func aSecondStartOnTheSameDirectoryIsRefusedNamingTheHolder() async throws {
        try await withDirectory { directory in
            let server = try await PrivateRedisServer.start(.init(directory: directory))
            let error = try await #require(throws: PrivateRedisError.self) {
                _ = try await PrivateRedisServer.start(.init(directory: directory))
            }
            #expect(error.description.contains("in use by process \(getpid())"))
            #expect(try await redis(server, "PING") == "PONG")
            await server.stop()
        }
    }

    @Test func anUnexpectedEndIsFollowedByARestartWithTheData() async throws {
        let server = try await PrivateRedisServer.start()
        #expect(try await redis(server, "SET", "key", "value") == "OK")
        let first = try #require(await server.processID)
        Glibc.kill(first, SIGKILL)
        var exits = server.exits.makeAsyncIterator()
        let exit = try #require(await exits.next())
        #expect(exit.processID == first)
        #expect(exit.status?.signal == SIGKILL)
        #expect(exit.reaction == .restarting(after: .milliseconds(100)))
        try await eventually("it runs again") { await server.isRunning }
        #expect(await server.processID != first)
        #expect(try await redis(server, "GET", "key") == "value")
        await server.stop()
        #expect(await exits.next() == nil)
    }

    @Test func itGivesUpAfterFiveDeathsAndCanBeRestarted() async throws {
        let server = try await PrivateRedisServer.start(.init(ephemeral: true))
        var reactions: [PrivateRedisServer.Exit.Reaction] = []
        var exits = server.exits.makeAsyncIterator()
        for _ in 0..<5 {
            try await eventually("it runs") { await server.isRunning }
            Glibc.kill(try #require(await server.processID), SIGKILL)
            reactions.append(try #require(await exits.next()).reaction)
        }
        #expect(reactions == [100, 200, 400, 800].map { .restarting(after: .milliseconds($0)) } + [.gaveUp])
        #expect(await !server.isRunning)
        try await server.restart()
        #expect(try await redis(server, "PING") == "PONG")
        await server.stop()
    }

    @Test func killAndRestartKeepTheData() async throws {
        let server = try await PrivateRedisServer.start()
        #expect(try await redis(server, "SET", "key", "value") == "OK")
        await server.kill()
        #expect(await server.processID == nil)
        try await server.restart()
        #expect(try await redis(server, "GET", "key") == "value")
        try await server.restart()
        #expect(try await redis(server, "GET", "key") == "value")
        await server.stop()
        await #expect(throws: PrivateRedisError.self) { try await server.restart() }
    }

    @Test func stopDuringTheBackoffEndsIt() async throws {
        let server = try await PrivateRedisServer.start()
        Glibc.kill(try #require(await server.processID), SIGKILL)
        var exits = server.exits.makeAsyncIterator()
        _ = await exits.next()
        await server.stop()
        #expect(await server.processID == nil)
        #expect(!FileManager.default.fileExists(atPath: server.directoryPath))
    }

    @Test func anEphemeralOneLeavesNothing() async throws {
        let server = try await PrivateRedisServer.start(.init(ephemeral: true))
        #expect(try await redis(server, "CONFIG", "GET", "appendonly") == "appendonly\nno")
        #expect(FileManager.default.fileExists(atPath: server.directoryPath))
        await server.stop()
        #expect(!FileManager.default.fileExists(atPath: server.directoryPath))
    }

    @Test func aDirectoryTooLongForASocketPathWorks() async throws {
        try await withDirectory { directory in
            let long = directory + "/" + String(repeating: "long name ", count: 15) + "\"quoted\" ü"
            let server = try await PrivateRedisServer.start(.init(directory: long))
            #expect(server.socketPath.utf8.count <= 107)
            #expect(mode(String(server.socketPath.dropLast("/redis.sock".count))) == 0o700)
            #expect(try await redis(server, "SET", "key", "value") == "OK")
            await server.stop()
            #expect(!FileManager.default.fileExists(atPath: String(server.socketPath.dropLast("/redis.sock".count))))
            let second = try await PrivateRedisServer.start(.init(directory: long))
            #expect(try await redis(second, "GET", "key") == "value")
            await second.stop()
        }
    }

    @Test func whatAKilledOwnerLeftInTmpIsSweptByTheNextStart() async throws {
        let parent = try await startFixture("redis", "-")
        let line = await firstLine(of: parent).split(separator: " ")
        let socket = try #require(line.last?.dropFirst("unix://".count))
        let left = String(socket.dropLast("/redis.sock".count))
        Glibc.kill(parent.processID, SIGKILL)
        _ = await parent.waitForExit()
        #expect(FileManager.default.fileExists(atPath: left))
        // Old enough that the sweep does not take it for a directory that is being created.
        var times = [timeval(tv_sec: 1, tv_usec: 0), timeval(tv_sec: 1, tv_usec: 0)]
        #expect(utimes(left + "/lock", &times) == 0)
        // Swept once the old redis-server, which shares the lock, is gone.
        try await eventually("swept") {
            await (try PrivateRedisServer.start(.init(ephemeral: true))).stop()
            return !FileManager.default.fileExists(atPath: left)
        }
    }

    @Test func aMissingExecutableSaysHowToInstallIt() async throws {
        let error = try await #require(throws: PrivateRedisError.self) {
            _ = try await PrivateRedisServer.start(.init(ephemeral: true, executable: "redis-serverx"))
        }
        #expect(error.description.contains("redis-serverx was not found"))
        #expect(error.description.contains("apt-get install redis-server"))
    }

    @Test func aBadOptionIsReportedWithItsText() async throws {
        let error = try await #require(throws: PrivateRedisError.self) {
            _ = try await PrivateRedisServer.start(.init(ephemeral: true, extraArguments: ["--no-such-option", "1"]))
        }
        #expect(error.description.contains("no-such-option"))
    }

    @Test func aDroppedServerEndsItsProcess() async throws {
        let processID = try #require(await PrivateRedisServer.start(.init(ephemeral: true)).processID)
        try await eventually("redis-server is gone") { !isAlive(processID) }
    }

    @Test func theDeathOfTheParentKillsRedisAndANewStartFindsTheData() async throws {
        try await withDirectory { directory in
            let parent = try await startFixture("redis", directory)
            let line = await firstLine(of: parent).split(separator: " ")
            let old = try #require(line.first.flatMap { Int32($0) })
            let socket = directory + "/redis.sock"
            #expect(try await run(["redis-cli", "-s", socket, "SET", "key", "value"]).text == "OK\n")

            let refused = try await #require(throws: PrivateRedisError.self) {
                _ = try await PrivateRedisServer.start(.init(directory: directory))
            }
            #expect(refused.description.contains("in use by process \(parent.processID)"))

            Glibc.kill(parent.processID, SIGKILL)
            _ = await parent.waitForExit()
            // Starts at once: the lock makes it wait for the old redis-server, which the guardian is killing.
            let server = try await PrivateRedisServer.start(.init(directory: directory))
            #expect(!isAlive(old))
            #expect(try await redis(server, "GET", "key") == "value")
            await server.stop()
        }
    }
}

extension String {
    fileprivate var trimmed: String {
        var text = self[...]
        while text.last?.isWhitespace == true { text = text.dropLast() }
        return String(text)
    }
}
