import Logging
import PrivateRedis
import RedisClient
import Switchyard

/// The Redis of a replica: one or several that run already, or a private redis-server that lives and ends with us.
struct RedisForServing: Sendable {
    let partitions: Partitions
    /// For workers and redis-cli.
    let urls: [String]
    private let server: PrivateRedisServer?

    /// - Throws: ``Failure``, `RedisError` (a bad URL), `PrivateRedisError`.
    static func open(_ settings: EffectiveSettings, ephemeral: Bool) async throws -> RedisForServing {
        let logger = Logger(label: "switchyard.redis")
        let instances = try settings.redisInstances()
        guard instances.isEmpty else {
            let clients = instances.map { RedisClient($0, logger: logger) }
            return RedisForServing(
                partitions: try settings.partitions(on: clients), urls: settings.redisURLs, server: nil)
        }
        let server = try await PrivateRedisServer.start(
            .init(directory: ephemeral ? nil : settings.text(.data), ephemeral: ephemeral, logger: logger))
        do {
            let client = RedisClient(try RedisConfiguration(url: server.url), logger: logger)
            return RedisForServing(
                partitions: try settings.partitions(on: [client]), urls: [server.url], server: server)
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
        for client in partitions.instances { await client.shutdown() }
        await server?.stop()
        try result.get()
    }
}
