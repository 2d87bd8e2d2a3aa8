import Logging
import PrivateRedis
import RedisClient
import Switchyard

/// The Redis that is measured: a fresh redis-server of our own, or one that was given, which is left as it was found.
struct BenchRedis: Sendable {
    let client: RedisClient
    /// For the processes that we start.
    let url: String
    private let server: PrivateRedisServer?
    /// Whether the function library was there before us.
    private let hadLibrary: Bool

    /// The benchmark's queue; others begin so. Whatever is in them is deleted.
    static let queue = "switchyard-bench"

    /// - Parameters:
    ///   - given: the URL of a server; nil starts one, with the append-only file on.
    ///   - arguments: for the redis-server that is started.
    static func open(given: String?, arguments: [String] = [], logger: Logger) async throws -> BenchRedis {
        var server: PrivateRedisServer?
        if given == nil {
            server = try await PrivateRedisServer.start(
                .init(
                    ephemeral: false, appendfsync: .everysec,
                    // Rewriting the file falls on some runs and not on others; its cost is the disk's, and the other core's.
                    extraArguments: ["--auto-aof-rewrite-percentage", "0"] + arguments))
        }
        do {
            let url = given ?? server?.url ?? ""
            var configuration = try RedisConfiguration(url: url)
            // A busy machine shall not end the measurement.
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

    /// Deletes everything of the queue.
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
                throw Failure(.error, "SCAN answered something unexpected")
            }
            let keys = (page[1].array ?? []).compactMap(\.bytes)
            if !keys.isEmpty { _ = try await client.send(RedisCommand("UNLINK", keys.map { .buffer($0) })) }
            cursor = next
        } while cursor != "0"
        _ = try await client.send(RedisCommand("SREM", .string(Keys.queues), .string(queue)))
    }

    /// Leaves nothing behind.
    func close(_ queues: [String]) async {
        // A cancelled task cannot send, and this is also how Ctrl-C ends.
        await Task {
            if server == nil {
                // What cannot be deleted now was said to be unreachable already.
                for queue in queues { try? await empty(queue) }
                if !hadLibrary { _ = try? await client.send(RedisCommand("FUNCTION", "DELETE", "switchyard")) }
            }
            await client.shutdown()
            await server?.stop()
        }.value
    }

    /// Opens it, runs `body`, and closes it whatever its end.
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
