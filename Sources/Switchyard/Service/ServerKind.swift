import RedisClient

/// Whether a server is a node of a Redis Cluster and was given as one, and whether it is a primary.
package enum ServerKind {
    private static let deadline: Duration = .seconds(2)

    /// Returns the URL to use instead of that of a Redis replica; nil if the server is none, or if this user may not
    /// ask. With sentinels and in a Redis Cluster, the client itself finds the primary.
    /// - Throws: `RedisError` if the server does not reply.
    package static func roleProblem(of client: RedisClient) async throws -> String? {
        guard client.configuration.deployment == .single, !client.isCluster else { return nil }
        let info: [String: String]
        do {
            let reply = try await client.send(RedisCommand("INFO", "replication"), deadline: deadline)
            info = ServerReview.fields(reply.string ?? "")
        } catch let error as RedisError where error.kind == .server && error.code != "LOADING" {
            return nil
        }
        guard info["role"] == "slave" else { return nil }
        let scheme = client.configuration.tls ? "rediss" : "redis"
        let primary = "\(info["master_host"] ?? "HOST"):\(info["master_port"] ?? "PORT")"
        return "the Redis server at \(client.configuration.endpoint) is a Redis replica, which refuses writes: use its "
            + "primary, \(scheme)://\(primary), or \(scheme)-sentinel:// to follow the primary"
    }

    /// Returns what is wrong, and the URL to use instead; nil if nothing is, or if this user may not ask.
    /// - Throws: `RedisError` if the server does not reply.
    package static func problem(of client: RedisClient) async throws -> String? {
        if client.isCluster {
            do {
                _ = try await client.primaries(deadline: deadline)
                return nil
            } catch let error as RedisError where error.kind == .invalidConfiguration {
                return error.message
            }
        }
        do {
            let text = try await client.send(RedisCommand("INFO", "cluster"), deadline: deadline).string ?? ""
            guard text.contains("cluster_enabled:1") else { return nil }
        } catch let error as RedisError where error.kind == .server && error.code != "LOADING" {
            return nil
        }
        let endpoint = client.configuration.endpoint
        return "the Redis server at \(endpoint) is a node of a Redis Cluster, which has only some of the queues: use "
            + "redis\(client.configuration.tls ? "s" : "")-cluster://\(endpoint)"
    }
}
