import RedisClient

/// Whether a server is a node of a Redis Cluster, and was given as one.
package enum ServerKind {
    /// Returns what is wrong, and the URL to use instead; nil if nothing is, or if this user may not ask.
    /// - Throws: `RedisError` if the server does not reply.
    package static func problem(of client: RedisClient) async throws -> String? {
        if client.isCluster {
            do {
                _ = try await client.primaries()
                return nil
            } catch let error as RedisError where error.kind == .invalidConfiguration {
                return error.message
            }
        }
        do {
            let text = try await client.send(RedisCommand("INFO", "cluster")).string ?? ""
            guard text.contains("cluster_enabled:1") else { return nil }
        } catch let error as RedisError where error.kind == .server && error.code != "LOADING" {
            return nil
        }
        let endpoint = client.configuration.endpoint
        return "the Redis server at \(endpoint) is a node of a Redis Cluster, which has only some of the queues: use "
            + "redis\(client.configuration.tls ? "s" : "")-cluster://\(endpoint)"
    }
}
