import Logging
import PrivateRedis
import RedisClient

/// The Redis of a replica: one that runs already, or a private redis-server that lives and ends with us.
struct RedisForServing: Sendable {
    let client: RedisClient
    /// For workers and redis-cli.
    let url: String
    private let server: PrivateRedisServer?

    /// - Throws: ``Failure``, `RedisError` (a bad URL), `PrivateRedisError`.
    static func open(_ settings: EffectiveSettings, ephemeral: Bool) async throws -> RedisForServing {
        let logger = Logger(label: "switchyard.redis")
        if let configuration = try settings.redis() {
            return RedisForServing(
                client: RedisClient(configuration, logger: logger), url: settings.text(.redis), server: nil)
        }
        let server = try await PrivateRedisServer.start(
            .init(directory: ephemeral ? nil : settings.text(.data), ephemeral: ephemeral, logger: logger))
        do {
            let client = RedisClient(try RedisConfiguration(url: server.url), logger: logger)
            return RedisForServing(client: client, url: server.url, server: server)
        } catch {
            await server.stop()
            throw error
        }
    }

    /// Where the data is; nil: in a Redis that is not ours.
    var directory: String? { server?.directoryPath }
    var socketPath: String? { server?.socketPath }

    /// Runs `body`, and closes everything after it, whatever its end.
    func closing(_ body: () async throws -> Void) async throws {
        let result: Result<Void, any Error>
        do {
            result = .success(try await body())
        } catch {
            result = .failure(error)
        }
        await client.shutdown()
        await server?.stop()
        try result.get()
    }
}
