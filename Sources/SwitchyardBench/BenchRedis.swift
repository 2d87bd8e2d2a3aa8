import Logging
import PrivateRedis
import RedisClient
import Switchyard

/// The Redis server under measurement: a new private redis-server, or a given one, which is left as it was found.
struct BenchRedis: Sendable {
    let client: RedisClient
    /// The URL for the processes that the benchmark starts.
    let url: String
    private let server: PrivateRedisServer?
    /// Whether the function library was loaded before the benchmark began.
    private let hadLibrary: Bool

    /// The benchmark's queue, and the prefix of the names of its other queues. Everything in them is deleted.
    static let queue = "switchyard-bench"

    /// Connects to the server, which it starts if none is given, and loads the function library.
    /// - Parameters:
    ///   - given: the URL of a server; nil starts one, with an append-only file.
    ///   - arguments: arguments for the redis-server that is started.
    static func open(given: String?, arguments: [String] = [], logger: Logger) async throws -> BenchRedis {
        var server: PrivateRedisServer?
        if given == nil {
            server = try await PrivateRedisServer.start(
                .init(
                    ephemeral: false, appendfsync: .everysec,
                    // No rewrites of the file: they would fall on some runs only, and they cost the disk and another
                    // core, not the measured one.
                    extraArguments: ["--auto-aof-rewrite-percentage", "0"] + arguments))
        }
        do {
            let url = given ?? server?.url ?? ""
            var configuration = try RedisConfiguration(url: url)
            // A command may take long on a busy machine; a timeout would end the measurement.
            configuration.commandTimeout = max(configuration.commandTimeout, .seconds(60))
            let client = RedisClient(configuration)
            let library = FunctionLibrary(client: client, logger: logger)
            let hadLibrary = try await library.loadedVersion() != nil
            try await library.ensureLoaded()
            return BenchRedis(client: client, url: url, server: server, hadLibrary: hadLibrary)
        } catch {
            await server?.stop()
            throw error
        }
    }

    /// Another connection to the same server.
    func anotherClient() throws -> RedisClient { RedisClient(client.configuration) }

    /// Deletes all data of the queue; on a private server, all data.
    func empty(_ queue: String) async throws {
        guard server == nil else {
            _ = try await client.send(RedisCommand("FLUSHALL", "SYNC"))
            return
        }
        let pattern = Keys(queue: queue).prefix + "*"
        var cursor = "0"
        repeat {
            let page =
                try await client.send(
                    RedisCommand("SCAN", .string(cursor), "MATCH", .string(pattern), "COUNT", "1000")
                ).array ?? []
            guard page.count == 2, let next = page[0].string else {
                throw BenchError("SCAN returned an unexpected reply")
            }
            let keys = (page[1].array ?? []).compactMap(\.bytes)
            if !keys.isEmpty { _ = try await client.send(RedisCommand("UNLINK", keys.map { .buffer($0) })) }
            cursor = next
        } while cursor != "0"
        _ = try await client.send(RedisCommand("SREM", .string(Keys.queues), .string(queue)))
    }

    /// Stops the private server, or deletes from a given one the queues, the library of the floor and, if the benchmark
    /// loaded it, Switchyard's library.
    func close(_ queues: [String]) async {
        // Runs in a new Swift task: after Ctrl-C the current one is cancelled and could not send commands.
        await Task {
            if server == nil {
                // Errors are ignored: if the server is unreachable, the measurement has already reported it; and the
                // library of the floor exists only if the benchmark was interrupted while it measured that.
                for queue in queues { try? await empty(queue) }
                let libraries = [FloorMeasurement.libraryName] + (hadLibrary ? [] : ["switchyard"])
                for name in libraries { _ = try? await client.send(RedisCommand("FUNCTION", "DELETE", .string(name))) }
            }
            await client.shutdown()
            await server?.stop()
        }.value
    }

    /// Opens the server, runs `body`, and closes the server whether or not `body` throws.
    static func using<Value: Sendable>(
        given: String?, arguments: [String] = [], queues: [String], logger: Logger,
        _ body: (BenchRedis) async throws -> Value
    ) async throws -> Value {
        let redis = try await open(given: given, arguments: arguments, logger: logger)
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(redis))
        } catch {
            result = .failure(error)
        }
        await redis.close(queues)
        return try result.get()
    }
}
