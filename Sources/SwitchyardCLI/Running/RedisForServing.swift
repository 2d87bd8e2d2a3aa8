import Logging
import PrivateRedis
import RedisClient
import ServiceLifecycle
import Switchyard

/// The Redis servers of a replica: one or several existing servers, or a private one that ends with this process.
struct RedisForServing: Sendable {
    let partitions: Partitions
    /// How the servers are reached, in order.
    let configurations: [RedisConfiguration]
    /// The environment of workers that use these servers.
    let environment: [String: String]
    private let server: PrivateRedisServer?

    /// Connects to the servers of the settings, or starts a private server if they name none.
    /// - Throws: ``Failure``, `PrivateRedisError`.
    static func open(_ settings: EffectiveSettings, ephemeral: Bool) async throws -> RedisForServing {
        let logger = Logger(label: "switchyard.redis")
        let instances = try settings.redisInstances()
        guard instances.isEmpty else {
            let clients = instances.map { RedisClient($0, logger: logger) }
            return RedisForServing(
                partitions: try settings.partitions(on: clients), configurations: instances,
                environment: EffectiveSettings.environment(
                    redis: settings.redisURLs, password: try settings.redisPassword()),
                server: nil)
        }
        for setting in [Setting.redisPassword, .redisPasswordFile] {
            if let origin = settings.values[setting]?.origin {
                throw Failure(
                    .usage,
                    "\(setting.name) (\(origin)): there is no Redis that it is for; set \(Setting.redis.variable) too")
            }
        }
        let server = try await PrivateRedisServer.start(
            .init(directory: ephemeral ? nil : settings.text(.data), ephemeral: ephemeral, logger: logger))
        do {
            let configuration = try RedisConfiguration(url: server.url)
            return RedisForServing(
                partitions: try settings.partitions(on: [RedisClient(configuration, logger: logger)]),
                configurations: [configuration],
                environment: EffectiveSettings.environment(redis: [server.url], password: nil), server: server)
        } catch {
            await server.stop()
            throw error
        }
    }

    /// What must run beside the replica: the watch on the private server.
    var services: [any Service] { server.map { [PrivateRedisWatch(server: $0)] } ?? [] }

    /// The directory of the private server's data; nil if the server is not private.
    var directory: String? { server?.directoryPath }

    /// A command line that connects to the first server, without its password: redis-cli asks for it. The
    /// primary behind sentinels changes, so a word stands for its address.
    var commandLine: String {
        guard let first = configurations.first else { return "redis-cli" }
        var line = ["redis-cli"]
        if case .cluster = first.deployment { line.append("-c") }
        switch first.endpoint {
        case .tcp where first.deployment != .single: line += ["-h", "PRIMARY"]
        case .tcp(let host, let port): line += ["-h", host, "-p", "\(port)"]
        case .unixSocket(let path): line += ["-s", path]
        }
        if first.database != 0 { line += ["-n", "\(first.database)"] }
        if first.tls { line.append("--tls") }
        if let file = first.caFile { line += ["--cacert", file] }
        if !first.verifiesCertificates { line.append("--insecure") }
        if let user = first.username { line += ["--user", user] }
        if first.password != nil { line.append("--askpass") }
        return CommandLineText.joined(line)
    }

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

/// Fails when the private redis-server is not started any more, and so ends its service group: without it nothing
/// works, and nobody else starts it again.
private struct PrivateRedisWatch: Service {
    let server: PrivateRedisServer

    func run() async throws {
        try await cancelWhenGracefulShutdown {
            for await exit in server.exits where exit.reaction == .gaveUp {
                throw Failure(
                    .error,
                    """
                    the private redis-server ended too often, and is not started again: everything ends.
                    Its last line: \(exit.detail.split(separator: "\n").last ?? "none")
                    Look into \(server.directoryPath)/redis.log: is the disk full, is the memory used up, does \
                    something kill it? Then start again: the data in \(server.directoryPath) is kept.
                    """)
            }
        }
    }
}
