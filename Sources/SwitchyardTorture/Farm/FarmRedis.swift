import Foundation
import Logging
import RedisClient
import Switchyard
import SwitchyardTesting

/// The Redis of a run: one server, or several that replace each other. The only part that knows which kind it is.
struct FarmRedis: Sendable {
    enum Servers: Sendable {
        case one(FarmServer)
        case sentinel(SentinelFarm)
        /// The slot is that of the queue.
        case cluster(ClusterFarm, slot: Int)
    }

    let servers: Servers
    /// Past all proxies, for faults and for the final look.
    let client: RedisClient

    /// Starts it, with the function library.
    /// - Parameters:
    ///   - directory: an empty directory for the data of one server, which exists.
    ///   - library: the text of another function library; nil: that of the build. Only one server may have another.
    ///   - hasDisk: whether one server gets a disk of its own, which can become full.
    static func start(
        _ kind: RedisKind, in directory: String, library: String?, hasDisk: Bool, logger: Logger
    ) async throws -> FarmRedis {
        guard library == nil || kind == .server else {
            throw TortureError("another function library: expected one server, found \(kind.rawValue)")
        }
        switch kind {
        case .server:
            let server = try await FarmServer.start(
                in: directory, library: library, hasDisk: hasDisk, logger: logger)
            return FarmRedis(servers: .one(server), client: server.client)
        case .sentinel:
            var options = SentinelFarm.Options()
            // As Operations says.
            options.minReplicasToWrite = 1
            let farm = try await SentinelFarm.start(options)
            return try await start(.sentinel(farm), url: farm.url, logger)
        case .cluster:
            let farm = try await ClusterFarm.start()
            let slot = HashSlot.of(key: Keys(queue: Farm.queue).prefix.utf8)
            return try await start(.cluster(farm, slot: Int(slot)), url: farm.url, logger)
        }
    }

    private static func start(_ servers: Servers, url: String, _ logger: Logger) async throws -> FarmRedis {
        var configuration = try RedisConfiguration(url: url)
        configuration.commandTimeout = .seconds(30)
        let redis = FarmRedis(servers: servers, client: RedisClient(configuration, logger: logger))
        do {
            try await redis.loadLibrary()
        } catch {
            await redis.stop()
            throw error
        }
        return redis
    }

    /// Opens a way to it for one process or client.
    /// - Parameter address: the address of the way; nil: any.
    /// - Returns: the URL for the process.
    func open(_ link: Link, on address: String? = nil) async throws -> String {
        switch servers {
        case .one(let server): try await link.open(to: server.socketPath, on: address)
        case .sentinel(let farm): farm.url
        case .cluster(let farm, _): farm.url
        }
    }

    /// Ends it, and removes its data.
    func stop() async {
        if case .one(let server) = servers { return await server.stop() }
        await client.shutdown()
        switch servers {
        case .one: break
        case .sentinel(let farm): await farm.stop()
        case .cluster(let farm, _): await farm.stop()
        }
    }

    /// Loads the function library where it is missing.
    func loadLibrary() async throws {
        if case .one(let server) = servers { return try await server.loadLibrary() }
        try await FunctionLibrary(client: client, logger: TestRedis.quiet).ensureLoaded()
    }

    /// The times that came twice, by the clock of the functions.
    var repeatedTimes: [ClosedRange<Date>] {
        if case .one(let server) = servers { server.repeatedTimes } else { [] }
    }

    // MARK: Faults

    /// Returns the one server.
    /// - Throws: ``TortureError`` if there are several.
    func server(for fault: FaultKind) throws -> FarmServer {
        guard case .one(let server) = servers else { throw TortureError("\(fault.rawValue) needs one redis-server") }
        return server
    }

    /// Has the server of the queue close connections, as `CLIENT KILL` does.
    func closeConnections(_ which: String...) async throws {
        try await send("CLIENT", ["KILL"] + which)
    }

    func flushFunctions() async throws { try await send("FUNCTION", ["FLUSH"]) }

    private func send(_ name: String, _ arguments: [String]) async throws {
        let primary = try await client.primary(of: Keys(queue: Farm.queue).prefix)
        _ = try await primary.send(RedisCommand(name, arguments.map { .string($0) }))
    }

    /// Waits until another server can take the queue.
    func prepare(for fault: FaultKind) async throws {
        guard fault.movesQueue else { return }
        switch servers {
        case .one: break
        case .sentinel(let farm): try await farm.waitForReplicas(RedisKind.sentinel.redisReplicas)
        case .cluster(let farm, _): try await farm.waitUntilComplete()
        }
    }

    /// The port of the server that has the queue, as the sentinels or the nodes of the Redis Cluster say; nil: there is
    /// none, or it is one server, and stays so.
    func holder() async throws -> Int? {
        switch servers {
        case .one: return nil
        case .sentinel(let farm): return try await farm.primary().map { farm.servers[$0].port }
        case .cluster(let farm, let slot): return await farm.ownerSeenByMost(of: slot)?.port
        }
    }
}
