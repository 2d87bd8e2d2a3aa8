import Foundation
import Logging
import RedisClient
import Switchyard

/// Checks a Redis server. It only reads, and does not load the function library.
struct RedisChecks: Sendable {
    let client: RedisClient

    private static let deadline: Duration = .seconds(5)
    /// Seconds. A smaller skew is not visible in ages and times.
    private static let toleratedSkew = 0.5
    /// The first major version that has functions.
    private static let leastVersion = 7

    /// Runs all checks.
    /// - Returns: the findings, and whether the queues on the server can be read.
    func findings() async throws -> (findings: [Finding], isReadable: Bool) {
        let info: [String: String]
        do {
            info = Self.fields(try await client.send(RedisCommand("INFO"), deadline: Self.deadline).string ?? "")
        } catch let error as RedisError {
            let advice = "check its URL (--redis, SWITCHYARD_REDIS), and whether it runs"
            return ([.fail("redis", "\(error)", advice)], false)
        }
        var findings = Self.server(info)
        findings += await configuration()
        findings += await clock()
        let library = await library()
        findings.append(library.finding)
        return (findings, library.isLoaded)
    }

    // MARK: The server

    static func server(_ info: [String: String]) -> [Finding] {
        var findings: [Finding] = []
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
                    "memory", "\(Int(used / most * 100)) % of maxmemory is used",
                    "raise maxmemory, or shorten the retention: switchyard queue set retention_seconds=N"))
        }
        return findings
    }

    private func configuration() async -> [Finding] {
        let names = ["maxmemory-policy", "appendonly", "hash-max-listpack-value"]
        var values: [String: String] = [:]
        for name in names {
            guard
                let pair = try? await client.send(
                    RedisCommand("CONFIG", "GET", .string(name)), deadline: Self.deadline
                ).array, pair.count == 2
            else {
                return [
                    .warn(
                        "config", "its configuration cannot be read",
                        "check \(names.joined(separator: ", ")) yourself, or allow this user CONFIG GET")
                ]
            }
            values[name] = pair[1].string
        }
        return Self.configuration(values)
    }

    static func configuration(_ values: [String: String]) -> [Finding] {
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

    /// Compares this machine's clock, at the middle of the call, with Redis's, which alone decides about scheduling.
    private func clock() async -> [Finding] {
        let before = Date()
        guard let time = try? await client.send(RedisCommand("TIME"), deadline: Self.deadline).array, time.count == 2,
            let seconds = time[0].string.flatMap(Double.init), let micros = time[1].string.flatMap(Double.init)
        else { return [] }
        let middle = before.timeIntervalSince1970 + Date().timeIntervalSince(before) / 2
        return [Self.clock(skew: middle - (seconds + micros / 1e6))]
    }

    static func clock(skew: Double) -> Finding {
        let size = HumanTime.duration(abs(skew))
        guard abs(skew) >= toleratedSkew else { return .ok("clock", "within \(size) of Redis's") }
        return .warn(
            "clock", "this machine is \(size) \(skew > 0 ? "ahead of" : "behind") Redis",
            "set the clocks (NTP); scheduling uses Redis's clock, but ages and run_at are off by as much")
    }

    private func library() async -> (finding: Finding, isLoaded: Bool) {
        let ours = FunctionLibrary.version
        do {
            let library = FunctionLibrary(client: client, logger: Logger(label: "switchyard.doctor"))
            guard let loaded = try await library.loadedVersion() else {
                return (
                    .warn("library", "the functions are not loaded", "the first replica or worker loads them"), false
                )
            }
            if loaded == ours { return (.ok("library", "version \(loaded)"), true) }
            return (
                .warn(
                    "library", "version \(loaded), and this program has \(ours)",
                    loaded < ours ? "a replica of this version replaces it" : "update this program"), true
            )
        } catch {
            return (.fail("library", "cannot be called: \(error)", "check that this user may call FCALL"), false)
        }
    }

    private static func fields(_ info: String) -> [String: String] {
        var fields: [String: String] = [:]
        for line in info.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        return fields
    }
}
