import Foundation
import Logging
import PrivateRedis
import RedisClient
import Switchyard

/// A redis-server for tests, configured like Switchyard's own: on a Unix socket in a private directory, without TCP. It
/// never outlives the process that started it, however that process ends.
///
/// ``shared`` serves every test that only needs its own queue; tests that kill or fill Redis start their own server.
public final class TestRedis: Sendable {
    /// What the server writes to disk.
    public enum Durability: Sendable {
        /// Nothing is written to disk.
        case none
        /// The append-only file, flushed once a second.
        case everySecond
        /// The append-only file, flushed before each reply.
        case always
    }

    /// A client of the server. It reconnects after ``kill()`` and ``restart()``.
    public let client: RedisClient
    /// The server's URL, which names its Unix socket.
    public let url: String
    private let server: PrivateRedisServer

    private init(server: PrivateRedisServer) throws {
        self.server = server
        self.url = server.url
        self.client = RedisClient(try RedisConfiguration(url: server.url))
    }

    /// Starts a server and loads the function library.
    /// - Parameters:
    ///   - directory: The directory of its data; nil: a temporary one, which ``stop()`` removes.
    ///   - arguments: Further arguments of redis-server, such as `["--maxmemory", "20mb"]`.
    public static func start(
        _ durability: Durability = .none, directory: String? = nil, arguments: [String] = []
    ) async throws -> TestRedis {
        var options = PrivateRedisServer.Options(directory: directory, extraArguments: arguments, logger: quiet)
        switch durability {
        case .none: options.ephemeral = true
        case .everySecond: options.appendfsync = .everysec
        case .always: options.appendfsync = .always
        }
        let redis = try TestRedis(server: await PrivateRedisServer.start(options))
        try await redis.loadLibrary()
        return redis
    }

    /// Loads the library that the tests were built with, or the one that the environment selects (``TestLibrary``),
    /// under a version number that nothing replaces.
    private func loadLibrary() async throws {
        guard let text = try TestLibrary.text() else { return try await library.ensureLoaded() }
        let pattern = /local VERSION = \d+/
        let unreplaceable = text.replacing(pattern, with: "local VERSION = 1000000", maxReplacements: 1)
        _ = try await client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(unreplaceable)))
    }

    /// Runs `body` with a new server, and stops it afterwards, also if `body` throws.
    public static func run<Value>(
        _ durability: Durability = .none, arguments: [String] = [], _ body: (TestRedis) async throws -> Value
    ) async throws -> Value {
        let redis = try await start(durability, arguments: arguments)
        do {
            let value = try await body(redis)
            await redis.stop()
            return value
        } catch {
            await redis.stop()
            throw error
        }
    }

    private static let starting = Task {
        // Nobody stops the shared server: this process removes its directory at its exit.
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("switchyard-tests-\(ProcessInfo.processInfo.processIdentifier)").path
        atexit {
            let name = "switchyard-tests-\(ProcessInfo.processInfo.processIdentifier)"
            try? FileManager.default.removeItem(at: FileManager.default.temporaryDirectory.appendingPathComponent(name))
        }
        return try await start(directory: directory)
    }

    /// The server that the tests of this process share, each with its own random queue: never flush it.
    public static var shared: TestRedis {
        get async throws { try await starting.value }
    }

    /// A logger that discards everything.
    public static let quiet = Logger(label: "switchyard.testing", factory: { _ in SwiftLogNoOpLogHandler() })

    /// The function library on this server.
    package var library: FunctionLibrary { FunctionLibrary(client: client, logger: Self.quiet) }

    /// Returns another client of the same server. The caller shuts it down.
    public func makeClient() throws -> RedisClient {
        RedisClient(try RedisConfiguration(url: url))
    }

    /// Kills the server with SIGKILL, as in a crash. Only ``restart()`` starts it again.
    public func kill() async { await server.kill() }

    /// Starts the server again with the same data. Returns once it replies.
    public func restart() async throws { try await server.restart() }

    /// Stops the server and removes its temporary files.
    public func stop() async {
        await client.shutdown()
        await server.stop()
    }
}
