import ChildProcess
import Foundation
import RedisClient

/// A primary, two Redis replicas, and three sentinels that watch over them, for tests of failovers. Each is a
/// redis-server of its own on 127.0.0.1, which can be killed, paused and started again. None outlives the process that
/// started it.
///
/// The sentinels take a silent primary for dead after one second.
public final class SentinelFarm: Sendable {
    /// What differs from the usual farm.
    public struct Options: Sendable {
        /// The password of the servers.
        public var password: String?
        /// The password of the sentinels.
        public var sentinelPassword: String?
        /// `min-replicas-to-write` of the servers; 0: a primary takes writes without Redis replicas.
        public var minReplicasToWrite = 0
        /// Whether all connections use TLS. The certificates are made with `openssl`.
        public var tls = false
        /// Further lines of the servers' configuration.
        public var serverLines: [String] = []

        /// The usual farm.
        public init() {}
    }

    /// The name that the sentinels have for the primary.
    public static let name = "tasks"

    /// The servers with data. The first one is the primary at the start.
    public let servers: [FarmMember]
    /// The sentinels.
    public let sentinels: [FarmMember]
    /// The URL for clients: it names the sentinels.
    public let url: String
    private let directory: String

    private init(directory: String, options: Options, certificate: TestCertificate?, ports: [Int]) throws {
        self.directory = directory
        func member(_ number: Int, _ lines: [String], _ password: String?) throws -> FarmMember {
            try FarmMember(
                port: ports[number], directory: "\(directory)/\(number)", lines: lines, password: password,
                certificate: certificate)
        }
        servers = try (0..<3).map { number in
            try member(number, Self.serverLines(number, ports: ports, options), options.password)
        }
        sentinels = try (3..<6).map { number in
            try member(number, Self.sentinelLines(number, ports: ports, options), options.sentinelPassword)
        }
        var url = "redis\(options.tls ? "s" : "")-sentinel://"
        if let password = options.password { url += ":\(password)@" }
        url += ports[3...].map { "127.0.0.1:\($0)" }.joined(separator: ",") + "/\(Self.name)"
        let items =
            (options.sentinelPassword.map { ["sentinel_password=\($0)"] } ?? [])
            + (certificate.map { ["ca=\($0.path)"] } ?? [])
        self.url = url + (items.isEmpty ? "" : "?" + items.joined(separator: "&"))
    }

    private static func serverLines(_ number: Int, ports: [Int], _ options: Options) -> [String] {
        var lines = [
            "save \"\"", "appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction",
            "hash-max-listpack-value 4096", "repl-diskless-sync yes", "repl-diskless-sync-delay 0",
            "repl-ping-replica-period 1", "min-replicas-to-write \(options.minReplicasToWrite)",
            "min-replicas-max-lag 2",
        ]
        if let password = options.password { lines += ["requirepass \(password)", "masterauth \(password)"] }
        if number > 0 { lines.append("replicaof 127.0.0.1 \(ports[0])") }
        return lines + options.serverLines
    }

    /// The sentinels know each other and the Redis replicas from the start; they would find them within seconds.
    private static func sentinelLines(_ number: Int, ports: [Int], _ options: Options) -> [String] {
        func id(_ number: Int) -> String { String(repeating: "\(number)", count: 40) }
        var lines = ["sentinel myid \(id(number))", "sentinel monitor \(name) 127.0.0.1 \(ports[0]) 2"]
        lines.append("sentinel down-after-milliseconds \(name) 1000")
        // The pause between two failovers is twice as long.
        lines.append("sentinel failover-timeout \(name) 2000")
        lines.append("sentinel parallel-syncs \(name) 2")
        if let password = options.password { lines.append("sentinel auth-pass \(name) \(password)") }
        if let password = options.sentinelPassword {
            lines += ["requirepass \(password)", "sentinel sentinel-pass \(password)"]
        }
        for port in ports[1...2] { lines.append("sentinel known-replica \(name) 127.0.0.1 \(port)") }
        for other in 3..<6 where other != number {
            lines.append("sentinel known-sentinel \(name) 127.0.0.1 \(ports[other]) \(id(other))")
        }
        return lines
    }

    /// Starts a farm. Returns when both Redis replicas have the data and the sentinels can fail over.
    public static func start(_ options: Options = Options()) async throws -> SentinelFarm {
        let directory = NSTemporaryDirectory() + "switchyard-sentinel-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let certificate = options.tls ? try await TestCertificate.make(in: directory) : nil
        // Another process may take a port between the search and the start.
        var attempts = 3
        while true {
            let farm = try SentinelFarm(
                directory: directory, options: options, certificate: certificate, ports: LoopbackPort.free(6))
            do {
                try await farm.startAll()
                return farm
            } catch {
                await farm.endProcesses()
                attempts -= 1
                guard attempts == 0 else { continue }
                farm.removeDirectory()
                throw error
            }
        }
    }

    /// Runs `body` with a new farm, and stops it afterwards, also if `body` throws.
    public static func run<Value>(
        _ options: Options = Options(), _ body: (SentinelFarm) async throws -> Value
    ) async throws -> Value {
        let farm = try await start(options)
        do {
            let value = try await body(farm)
            await farm.stop()
            return value
        } catch {
            await farm.stop()
            throw error
        }
    }

    private func startAll() async throws {
        for server in servers { try await server.start() }
        try await FarmMember.poll("the Redis replicas have the data") { try await replicas(of: 0) == 2 }
        for sentinel in sentinels { try await sentinel.start(isSentinel: true) }
        for sentinel in sentinels {
            try await FarmMember.poll("a sentinel reaches the others") {
                try await sentinel.send("SENTINEL", "CKQUORUM", .string(Self.name)).string?.hasPrefix("OK 3") == true
            }
        }
    }

    // MARK: Failovers

    /// Returns a client that finds the primary through the sentinels. The caller shuts it down.
    /// - Parameter options: further options of the URL, such as `timeout=2`.
    public func makeClient(_ options: String = "") throws -> RedisClient {
        let separator = url.contains("?") ? "&" : "?"
        return RedisClient(try RedisConfiguration(url: options.isEmpty ? url : url + separator + options))
    }

    /// Returns the index of the server that most sentinels name as the primary and that says so itself; nil while
    /// there is none. Sentinels and servers that do not reply count as if they were not there.
    public func primary() async throws -> Int? {
        var votes: [Int: Int] = [:]
        for sentinel in sentinels where sentinel.isRunning {
            let reply = try await sentinel.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", .string(Self.name))
            let port = reply.array?.last?.string.flatMap(Int.init)
            if let index = servers.firstIndex(where: { $0.port == port }) { votes[index, default: 0] += 1 }
        }
        guard let named = votes.max(by: { $0.value < $1.value })?.key, servers[named].isRunning else { return nil }
        let role = try await servers[named].send("ROLE").array?.first?.string
        return role == "master" ? named : nil
    }

    /// Waits until another server than the one with this index is the primary. Returns its index.
    @discardableResult
    public func waitForFailover(from former: Int) async throws -> Int {
        var found: Int?
        try await FarmMember.poll("another server is the primary", within: FarmMember.electionLimit) {
            found = try await primary()
            return found != nil && found != former
        }
        return found ?? former
    }

    /// Has a sentinel carry out a planned failover, as `SENTINEL FAILOVER` does, and waits for it. Returns the index of
    /// the new primary. Sentinels refuse while another failover is under way, and may give one up that takes long.
    @discardableResult
    public func failover() async throws -> Int {
        var former: Int?
        try await FarmMember.poll("there is a primary") {
            former = try await primary()
            return former != nil
        }
        var found: Int?
        var orderAt = ContinuousClock.now
        try await FarmMember.poll("a planned failover ends", within: FarmMember.electionLimit) {
            if orderAt <= .now, try await orderFailover() { orderAt = .now + .seconds(5) }
            found = try await primary()
            return found != nil && found != former
        }
        return found ?? 0
    }

    private func orderFailover() async throws -> Bool {
        for sentinel in sentinels where sentinel.isRunning {
            if try await sentinel.send("SENTINEL", "FAILOVER", .string(Self.name)).error == nil { return true }
        }
        return false
    }

    /// Waits until so many Redis replicas have the data of the primary. A former primary is told to follow the new one
    /// about ten seconds after a failover.
    public func waitForReplicas(_ count: Int) async throws {
        try await FarmMember.poll("\(count) Redis replicas follow the primary") {
            guard let primary = try await primary() else { return false }
            return try await replicas(of: primary) >= count
        }
    }

    private func replicas(of server: Int) async throws -> Int {
        let text = try await servers[server].send("INFO", "replication").string ?? ""
        return text.split(whereSeparator: \.isNewline).count { $0.contains("state=online") }
    }

    /// Ends all processes and removes their files.
    public func stop() async {
        await endProcesses()
        removeDirectory()
    }

    private func endProcesses() async {
        for member in servers + sentinels { await member.stop() }
    }

    private func removeDirectory() {
        // In the directory of temporary files nothing depends on it.
        try? FileManager.default.removeItem(atPath: directory)
    }
}
