import Logging
import PrivateRedis
import RedisClient
import Switchyard

/// The Redis servers of a replica: one or several existing servers, or a private one that ends with this process.
struct RedisForServing: Sendable {
    let partitions: Partitions
    /// The URLs for workers and redis-cli.
    let urls: [String]
    private let server: PrivateRedisServer?

    /// Connects to the servers of the settings, or starts a private server if they name none.
    /// - Throws: ``Failure``, `RedisError` (an invalid URL), `PrivateRedisError`.
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

    /// The directory of the private server's data; nil if the server is not private.
    var directory: String? { server?.directoryPath }
    var socketPath: String? { server?.socketPath }

    /// Runs `body`, then closes the clients and stops the private server, whether or not `body` throws.
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
