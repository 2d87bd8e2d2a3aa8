import RedisClient

/// What an operator must know of a Redis server: settings that lose tasks, memory that runs out, rights that its user
/// lacks. It only reads. `doctor` shows all findings; a replica looks when it connects and every minute, and its health
/// has those that need attention.
package struct ServerReview: Sendable {
    let client: RedisClient

    /// A review of the server of `client`.
    package init(_ client: RedisClient) { self.client = client }

    static let deadline: Duration = .seconds(5)
    /// The subjects of findings that say only that something cannot be read: the command is renamed or forbidden.
    static let optional: Set = ["info", "config"]
    /// The first major version that has functions.
    private static let leastVersion = 7

    /// The findings about the server, and about its settings if this user may read them.
    /// - Throws: `RedisError` if the server does not reply.
    package func findings() async throws -> [ServerFinding] {
        let findings = try await server() + configuration()
        guard case .sentinel = client.configuration.deployment else { return findings }
        return try await findings.map(Self.withSentinel) + sentinel()
    }

    // MARK: The server

    private func server() async throws -> [ServerFinding] {
        do {
            let text = try await client.send(RedisCommand("INFO"), deadline: Self.deadline).string ?? ""
            return Self.server(Self.fields(text))
        } catch let error as RedisError where error.kind == .server {
            return [Self.unreadable("info", "INFO", error)]
        }
    }

    /// Returns the findings in the fields of INFO.
    package static func server(_ info: [String: String]) -> [ServerFinding] {
        var findings: [ServerFinding] = []
        let product = info["valkey_version"] == nil ? "Redis" : "Valkey"
        let version = info["valkey_version"] ?? info["redis_version"] ?? "?"
        if let major = version.split(separator: ".").first.flatMap({ Int($0) }), major >= leastVersion {
            findings.append(.ok("redis", "\(product) \(version), \(info["used_memory_human"] ?? "?") used"))
        } else {
            findings.append(
                .fail("redis", "\(product) \(version) has no functions", "use Redis 7.0 or Valkey 7.2, or later"))
        }
        if info["role"] == "slave" {
            findings.append(.fail("role", "this is a Redis replica, which refuses writes", "use its primary"))
        }
        if info["loading"] == "1" {
            findings.append(.warn("loading", "it is reading its data from disk", "wait, and run doctor again"))
        }
        if info["aof_last_write_status"] == "err" || info["aof_last_bgrewrite_status"] == "err" {
            findings.append(.fail("disk", "the append-only file cannot be written", "check whether the disk is full"))
        }
        if let used = info["used_memory"].flatMap(Double.init), let most = info["maxmemory"].flatMap(Double.init),
            most > 0, used > 0.9 * most
        {
            findings.append(
                .warn(
                    "memory", "\(Int(min(used / most * 100, 1000))) % of maxmemory is used",
                    "raise maxmemory, or shorten the retention: switchyard queue set retention_seconds=N"))
        }
        return findings
    }

    // MARK: Its settings

    private func configuration() async throws -> [ServerFinding] {
        var values: [String: String] = [:]
        for name in ["maxmemory-policy", "appendonly", "hash-max-listpack-value"] {
            do {
                let reply = try await client.send(
                    RedisCommand("CONFIG", "GET", .string(name)), deadline: Self.deadline)
                if let pair = reply.array, pair.count == 2 { values[name] = pair[1].string }
            } catch let error as RedisError where error.kind == .server {
                return [Self.unreadable("config", "CONFIG GET", error)]
            }
        }
        return Self.configuration(values)
    }

    static func unreadable(_ subject: String, _ command: String, _ error: RedisError) -> ServerFinding {
        .warn(
            subject, "its \(subject) cannot be read: \(error.message)",
            "check maxmemory-policy, appendonly and hash-max-listpack-value yourself, or allow this user \(command)")
    }

    /// Returns the findings in settings of the server, given by their names.
    package static func configuration(_ values: [String: String]) -> [ServerFinding] {
        let policy = values["maxmemory-policy"] ?? "?"
        let appendOnly = values["appendonly"] ?? "?"
        let listpack = values["hash-max-listpack-value"].flatMap(Int.init) ?? 0
        return [
            policy == "noeviction"
                ? .ok("eviction", "maxmemory-policy noeviction")
                : .fail(
                    "eviction", "maxmemory-policy \(policy): a full Redis would delete tasks",
                    "CONFIG SET maxmemory-policy noeviction, and in redis.conf"),
            appendOnly == "yes"
                ? .ok("persistence", "appendonly yes")
                : .warn(
                    "persistence", "appendonly \(appendOnly): a restart loses tasks",
                    "CONFIG SET appendonly yes, and in redis.conf, unless tasks may be lost"),
            listpack >= 1024
                ? .ok("hashes", "hash-max-listpack-value \(listpack)")
                : .warn(
                    "hashes",
                    "hash-max-listpack-value \(listpack): tasks with payloads take up to four times the memory",
                    "CONFIG SET hash-max-listpack-value 4096, and in redis.conf"),
        ]
    }

    // MARK: Rights

    /// Checks that this user may do on a queue what the functions and the workers do. It needs the library.
    /// - Parameter functions: a queue; it need not exist.
    /// - Throws: ``SchedulerError``.
    package static func rights(_ functions: QueueFunctions) async throws -> ServerFinding {
        let missing = try await functions.call("rights", []).array?.compactMap(\.string) ?? []
        if missing.isEmpty { return .ok("rights", "this user may run all commands on the queue's keys and channels") }
        return .fail(
            "rights", "this user may not run \(missing.joined(separator: ", "))",
            "ACL SETUSER <user> ~switchyard:* &switchyard:* +@all -@admin, or at least these commands")
    }

    static func fields(_ info: String) -> [String: String] {
        var fields: [String: String] = [:]
        for line in info.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        return fields
    }
}
