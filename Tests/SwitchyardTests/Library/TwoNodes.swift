import Glibc
import RedisClient
import SwitchyardTesting
import Testing

/// A Redis Cluster of two nodes, the first of which has all slots.
struct TwoNodes {
    let source, target: TestRedis
    private let sourceID, targetID: String
    private let targetPort: UInt16

    /// Runs `body` with a new cluster, which is stopped afterwards.
    static func run(_ body: (TwoNodes) async throws -> Void) async throws {
        let ports = try freePorts(4)
        func arguments(_ port: UInt16, _ bus: UInt16) -> [String] {
            ["--cluster-enabled", "yes", "--bind", "127.0.0.1", "--port", "\(port)", "--cluster-port", "\(bus)"]
        }
        try await TestRedis.run(arguments: arguments(ports[0], ports[1])) { source in
            try await TestRedis.run(arguments: arguments(ports[2], ports[3])) { target in
                let nodes = try await TwoNodes(source, target, port: ports[2], bus: ports[3])
                try await body(nodes)
            }
        }
    }

    private init(_ source: TestRedis, _ target: TestRedis, port: UInt16, bus: UInt16) async throws {
        self.source = source
        self.target = target
        targetPort = port
        func cluster(_ redis: TestRedis, _ words: String...) async throws -> String {
            try await redis.client.send(RedisCommand("CLUSTER", words.map { .string($0) })).string ?? ""
        }
        _ = try await cluster(source, "ADDSLOTSRANGE", "0", "16383")
        _ = try await cluster(source, "SET-CONFIG-EPOCH", "1")
        _ = try await cluster(target, "SET-CONFIG-EPOCH", "2")
        _ = try await cluster(source, "MEET", "127.0.0.1", "\(port)", "\(bus)")
        let sourceID = try await cluster(source, "MYID")
        let targetID = try await cluster(target, "MYID")
        self.sourceID = sourceID
        self.targetID = targetID
        let haveMet = try await eventually(within: .seconds(20), every: .milliseconds(20)) {
            let here = try await cluster(source, "NODES")
            let there = try await cluster(target, "NODES")
            let states = try await [cluster(source, "INFO"), cluster(target, "INFO")]
            return here.contains(targetID) && there.contains(sourceID) && there.contains("0-16383")
                && states.allSatisfy { $0.contains("cluster_state:ok") }
        }
        try #require(haveMet)
    }

    /// Begins to move the slot of `key`. Returns the slot's number.
    func begin(_ key: String) async throws -> String {
        let slot = try await source.client.send(RedisCommand("CLUSTER", "KEYSLOT", .string(key))).int ?? -1
        let name = RedisArgument.integer(slot)
        _ = try await target.client.send(RedisCommand("CLUSTER", "SETSLOT", name, "IMPORTING", .string(sourceID)))
        _ = try await source.client.send(RedisCommand("CLUSTER", "SETSLOT", name, "MIGRATING", .string(targetID)))
        return "\(slot)"
    }

    /// Moves at most `count` keys of the slot.
    func move(_ slot: String, atMost count: Int) async throws {
        let keys = try await source.client.send(
            RedisCommand("CLUSTER", "GETKEYSINSLOT", .string(slot), .integer(Int64(count))))
        let names = (keys.array ?? []).compactMap(\.string).map { RedisArgument.string($0) }
        guard !names.isEmpty else { return }
        let head: [RedisArgument] = ["127.0.0.1", .integer(Int64(targetPort)), "", "0", "5000", "KEYS"]
        _ = try await source.client.send(RedisCommand("MIGRATE", head + names))
    }

    /// Assigns the slot to the target node.
    func end(_ slot: String) async throws {
        for node in [target, source] {
            _ = try await node.client.send(
                RedisCommand("CLUSTER", "SETSLOT", .string(slot), "NODE", .string(targetID)))
        }
    }

    /// Returns TCP ports of the loopback interface that are free now.
    private static func freePorts(_ count: Int) throws -> [UInt16] {
        var descriptors: [Int32] = []
        defer { for descriptor in descriptors { close(descriptor) } }
        return try (0..<count).map { _ in
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            try #require(descriptor >= 0)
            descriptors.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let port = withUnsafeMutablePointer(to: &address) { pointer -> UInt16? in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw -> UInt16? in
                    guard bind(descriptor, raw, size) == 0, getsockname(descriptor, raw, &size) == 0 else { return nil }
                    return pointer.pointee.sin_port
                }
            }
            return UInt16(bigEndian: try #require(port))
        }
    }
}
