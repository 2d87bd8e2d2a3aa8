import Foundation
import Logging
import PrivateRedis
import RedisClient
import Switchyard

/// A redis-server for tests, configured as Switchyard's own: on a Unix socket in a private directory, without TCP. It
/// never outlives the process that started it, however that ends.
///
/// ``shared`` serves every test that only needs a queue of its own; tests that kill or fill Redis start a fresh one.
public final class TestRedis: Sendable {
    public enum Durability: Sendable {
        /// Nothing is written to disk.
        case none
        /// The append-only file, flushed once a second.
        case everySecond
        /// The append-only file, flushed before each answer.
        case always
    }

    /// Connects to it, and goes on doing so after ``kill()`` and ``restart()``.
    public let client: RedisClient
    public let url: String
    private let server: PrivateRedisServer

    private init(server: PrivateRedisServer) throws {
        self.server = server
        self.url = server.url
        self.client = RedisClient(try RedisConfiguration(url: server.url))
    }

    /// Starts one, with the function library loaded.
    /// - Parameters:
    ///   - directory: where its data lives; nil makes a temporary one, which `stop` removes.
    ///   - arguments: for redis-server, such as `["--maxmemory", "20mb"]`.
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

    /// The library that the tests were built with; or the one that the environment names (``TestLibrary``), as a version that
    /// nothing replaces.
    private func loadLibrary() async throws {
        guard let text = try TestLibrary.text() else { return try await library.ensureLoaded() }
        let pattern = /local VERSION = \d+/
        let unreplaceable = text.replacing(pattern, with: "local VERSION = 1000000", maxReplacements: 1)
        _ = try await client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(unreplaceable)))
    }

    /// Runs `body` with a fresh server, which is gone afterwards, whatever happens.
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
        // Nobody stops the shared one: its directory is ours to remove when the process ends.
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("switchyard-tests-\(ProcessInfo.processInfo.processIdentifier)").path
        atexit {
            let name = "switchyard-tests-\(ProcessInfo.processInfo.processIdentifier)"
            try? FileManager.default.removeItem(at: FileManager.default.temporaryDirectory.appendingPathComponent(name))
        }
        return try await start(directory: directory)
    }

    /// The one of this process. Tests share it, each with a queue of a random name: never flush it.
    public static var shared: TestRedis {
        get async throws { try await starting.value }
    }

    public static let quiet = Logger(label: "switchyard.testing", factory: { _ in SwiftLogNoOpLogHandler() })

    public var library: FunctionLibrary { FunctionLibrary(client: client, logger: Self.quiet) }

    /// Another client of the same server; its user shuts it down.
    public func makeClient() throws -> RedisClient {
        RedisClient(try RedisConfiguration(url: url))
    }

    /// SIGKILL, as in a crash; nothing restarts it but ``restart()``.
    public func kill() async { await server.kill() }

    /// Starts it again on the same data, and returns once it answers.
    public func restart() async throws { try await server.restart() }

    /// Ends it and removes what is temporary.
    public func stop() async {
        await client.shutdown()
        await server.stop()
    }
}
