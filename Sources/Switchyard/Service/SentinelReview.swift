import RedisClient

// What an operator must know of a primary behind sentinels: settings with which a failover loses more than it must.

extension ServerReview {
    /// Returns the finding as it is with sentinels: a primary that restarts without its data, before they notice, is
    /// followed by its Redis replicas, which then have no data either.
    static func withSentinel(_ finding: ServerFinding) -> ServerFinding {
        guard finding.subject == "persistence", finding.level == .warn else { return finding }
        return .fail(
            "persistence", "\(finding.message), and all Redis replicas lose them with the primary",
            "CONFIG SET appendonly yes on every server, and in redis.conf")
    }

    /// The findings about a primary that sentinels watch over; none for another deployment.
    /// - Throws: `RedisError` if the server does not reply.
    func sentinel() async throws -> [ServerFinding] {
        guard case .sentinel(let sentinel) = client.configuration.deployment else { return [] }
        var values: [String: Int] = [:]
        var unreadable: RedisError?
        for name in ["min-replicas-to-write", "min-replicas-max-lag"] {
            do {
                let reply = try await client.send(
                    RedisCommand("CONFIG", "GET", .string(name)), deadline: Self.deadline)
                values[name] = reply.array?.last?.string.flatMap(Int.init)
            } catch let error as RedisError where error.kind == .server {
                unreadable = error
            }
        }
        var connected: Int?
        do {
            let text = try await client.send(RedisCommand("INFO", "replication"), deadline: Self.deadline).string ?? ""
            connected = text.split(whereSeparator: \.isNewline)
                .count { $0.hasPrefix("slave") && $0.contains("state=online") }
        } catch let error as RedisError where error.kind == .server {
            unreadable = error
        }
        if let unreadable, values.isEmpty, connected == nil {
            return [
                .warn(
                    "sentinel", "its replication cannot be read: \(unreadable.message)",
                    "check min-replicas-to-write and the Redis replicas yourself, or allow this user CONFIG GET, INFO")
            ]
        }
        return Self.sentinel(sentinel, leastReplicas: values["min-replicas-to-write"], connected: connected)
    }

    /// Returns the findings in the settings and the state of a primary behind sentinels; nil stands for what cannot be
    /// read.
    package static func sentinel(
        _ sentinel: RedisConfiguration.Sentinel, leastReplicas: Int?, connected: Int?
    ) -> [ServerFinding] {
        var findings: [ServerFinding] = []
        if sentinel.sentinels.count < 3 {
            findings.append(
                .warn(
                    "sentinels", "the URL has \(sentinel.sentinels.count) of the sentinels",
                    "name all of them, at least three: one that is away must not hide the primary"))
        }
        switch leastReplicas {
        case 0?:
            findings.append(
                .fail(
                    "replication",
                    "min-replicas-to-write 0: a primary that is cut off takes writes for seconds, and all are lost",
                    "CONFIG SET min-replicas-to-write 1, min-replicas-max-lag 10 on every server, and in redis.conf"))
        case let least?: findings.append(.ok("replication", "min-replicas-to-write \(least)"))
        case nil: break
        }
        switch connected {
        case 0?:
            findings.append(
                .fail(
                    "replicas", "the primary has no Redis replica: if it fails, nothing takes its place",
                    "start its Redis replicas, and look at SENTINEL REPLICAS \(sentinel.name)"))
        case let count?: findings.append(.ok("replicas", "the primary has \(count) Redis replicas"))
        case nil: break
        }
        return findings
    }
}
