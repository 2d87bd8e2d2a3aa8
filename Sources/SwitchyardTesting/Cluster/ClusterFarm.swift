import Foundation
import RedisClient
import Switchyard
import Synchronization

/// A Redis Cluster for tests, on ports of 127.0.0.1: primaries that share the hash slots evenly, and Redis replicas.
///
/// No node outlives the process that started it. Nothing is written to disk, so a node that is killed and restarted is
/// empty until its primary has sent its data.
public final class ClusterFarm: Sendable {
    /// A cluster that cannot do what a test asks for.
    public struct Failure: Error, CustomStringConvertible {
        /// What is wrong.
        public let description: String

        /// Creates an error.
        package init(description: String) { self.description = description }
    }

    /// The number of hash slots of every Redis Cluster.
    public static let slotCount = 16384

    /// How long a node waits for another before it reports that it is down.
    public let timeout: Duration
    private let arguments: [String]
    /// If all connections use TLS.
    private let certificate: TestCertificate?
    private let members: Mutex<[ClusterNode]>

    private init(_ nodes: [ClusterNode], timeout: Duration, certificate: TestCertificate?, arguments: [String]) {
        members = Mutex(nodes)
        self.timeout = timeout
        self.certificate = certificate
        self.arguments = arguments
    }

    /// All nodes, in the order in which they were started, also those that are down.
    public var nodes: [ClusterNode] { members.withLock { $0 } }

    /// The URL for a client of the cluster.
    public var url: String {
        let addresses = nodes.map(\.address).joined(separator: ",")
        return certificate.map { "rediss-cluster://\(addresses)?ca=\($0.path)" } ?? "redis-cluster://" + addresses
    }

    /// Returns a new client of the cluster. The caller shuts it down.
    public func makeClient() throws -> RedisClient { RedisClient(try RedisConfiguration(url: url)) }

    // MARK: Starting

    /// Starts a cluster, and returns when every node knows of every other and all slots are served.
    /// - Parameters:
    ///   - timeout: how long a node waits for another before it reports that it is down.
    ///   - certificate: of all nodes, which then speak only TLS.
    ///   - arguments: further arguments of every redis-server.
    public static func start(
        primaries: Int = 3, replicas: Int = 3, timeout: Duration = .seconds(2), certificate: TestCertificate? = nil,
        arguments: [String] = []
    ) async throws -> ClusterFarm {
        let nodes = try await withThrowingTaskGroup(of: ClusterNode.self) { group in
            for _ in 0..<primaries + replicas {
                group.addTask {
                    try await ClusterNode.start(timeout: timeout, certificate: certificate, arguments: arguments)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let farm = ClusterFarm(nodes, timeout: timeout, certificate: certificate, arguments: arguments)
        do {
            for (index, node) in nodes.prefix(primaries).enumerated() {
                let first = slotCount * index / primaries
                let last = slotCount * (index + 1) / primaries - 1
                try await node.cluster("ADDSLOTSRANGE", "\(first)", "\(last)")
            }
            for (index, node) in nodes.enumerated() { try await node.cluster("SET-CONFIG-EPOCH", "\(index + 1)") }
            for node in nodes.dropFirst() { try await node.meet(nodes[0]) }
            try await farm.wait("all nodes know each other") {
                try await farm.everyNode { try await $0.known().count == nodes.count }
            }
            for (index, node) in nodes.dropFirst(primaries).enumerated() {
                try await node.cluster("REPLICATE", nodes[index % primaries].id)
            }
            try await farm.waitUntilComplete()
        } catch {
            await farm.stop()
            throw error
        }
        return farm
    }

    /// The directories of the shared Cluster, which nobody stops: this process removes them at its exit.
    private static let leftDirectories = Mutex<[String]>([])

    private static let starting = Task {
        let farm = try await start()
        leftDirectories.withLock { $0 = farm.nodes.map(\.directory) }
        atexit {
            for directory in ClusterFarm.leftDirectories.withLock({ $0 }) {
                // At the exit nobody could be told.
                try? FileManager.default.removeItem(atPath: directory)
            }
        }
        let client = try farm.makeClient()
        try await FunctionLibrary(client: client, logger: TestRedis.quiet).ensureLoaded()
        await client.shutdown()
        return farm
    }

    /// A cluster that tests of this process share, each with its own queue. It has the function library on each
    /// primary. A test leaves every node running, and may change which node has which slot.
    public static var shared: ClusterFarm {
        get async throws { try await starting.value }
    }

    /// Runs `body` with a new cluster, and stops it afterwards, also if `body` throws.
    public static func run(
        primaries: Int = 3, replicas: Int = 3, certificate: TestCertificate? = nil,
        _ body: (ClusterFarm) async throws -> Void
    ) async throws {
        let farm = try await start(primaries: primaries, replicas: replicas, certificate: certificate)
        do {
            try await body(farm)
        } catch {
            await farm.stop()
            throw error
        }
        await farm.stop()
    }

    /// Starts a further primary, which has no slots and no functions.
    public func addNode() async throws -> ClusterNode {
        let node = try await ClusterNode.start(timeout: timeout, certificate: certificate, arguments: arguments)
        let others = nodes
        members.withLock { $0.append(node) }
        try await node.meet(others[0])
        let count = others.count + 1
        try await wait("the new node knows all others") {
            guard try await node.info("cluster_state") == "ok" else { return false }
            return try await self.everyNode { try await $0.known().count == count }
        }
        return node
    }

    /// Stops all nodes and removes their files.
    public func stop() async {
        await withTaskGroup(of: Void.self) { group in
            for node in nodes { group.addTask { await node.stop() } }
        }
    }

    // MARK: Waiting

    /// Waits until all slots are served, every Redis replica follows its primary, and all nodes agree on that.
    public func waitUntilComplete() async throws {
        try await wait("all slots are served, and every Redis replica is connected") {
            var views: Set<[String]> = []
            let isComplete = try await self.everyNode { node in
                guard try await node.info("cluster_state") == "ok" else { return false }
                views.insert(try await node.slots())
                let role = try await node.client.send(RedisCommand("ROLE")).array ?? []
                return role.first?.string == "master" || role.dropFirst(3).first?.string == "connected"
            }
            return isComplete && views.count == 1
        }
    }

    /// Whether a condition holds for every node that is up.
    private func everyNode(_ check: (ClusterNode) async throws -> Bool) async throws -> Bool {
        for node in nodes {
            do {
                if try await !check(node) { return false }
            } catch let error as RedisError where error.kind == .connectionFailed {
                continue
            }
        }
        return true
    }

    /// Polls until `condition` is true; throws after half a minute.
    func wait(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(30)
        var latest = ""
        while ContinuousClock.now < deadline {
            do {
                if try await condition() { return }
            } catch let error as RedisError {
                latest = "; the latest error: \(error)"
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw Failure(description: "the Redis Cluster on \(url): waited in vain until \(what)\(latest)")
    }
}

extension ClusterNode {
    /// Sends `CLUSTER …`.
    @discardableResult
    func cluster(_ arguments: String...) async throws -> RESPValue {
        try await client.send(RedisCommand("CLUSTER", arguments.map { .string($0) }))
    }

    func meet(_ other: ClusterNode) async throws {
        try await cluster("MEET", "127.0.0.1", "\(other.port)", "\(other.busPort)")
    }

    /// The ids of the nodes with which this one has completed a handshake, and its own.
    fileprivate func known() async throws -> [String] {
        let lines = try await cluster("NODES").string?.split(separator: "\n") ?? []
        return lines.filter { !$0.contains("handshake") && !$0.contains(",noaddr") }
            .compactMap { $0.split(separator: " ").first.map(String.init) }
    }

    fileprivate func info(_ field: String) async throws -> String? {
        let lines = try await cluster("INFO").string?.split(whereSeparator: \.isNewline) ?? []
        return lines.first { $0.hasPrefix(field + ":") }.map { String($0.dropFirst(field.count + 1)) }
    }

    /// A line for each range of slots, with the ports of its nodes, the primary's first.
    fileprivate func slots() async throws -> [String] {
        (try await cluster("SLOTS").array ?? []).map { range in
            let parts = range.array ?? []
            let ports = parts.dropFirst(2).compactMap { $0.array?.dropFirst().first?.int }
            let replicas = ports.dropFirst().sorted()
            return "\(parts.first?.int ?? -1)-\(parts.dropFirst().first?.int ?? -1) "
                + "\(ports.first ?? 0) \(replicas)"
        }.sorted()
    }
}
