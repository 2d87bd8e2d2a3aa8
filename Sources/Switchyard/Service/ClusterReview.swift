import Logging
import RedisClient

/// What an operator must know of a Redis Cluster, besides what a ``ServerReview`` of each primary finds. It only reads.
package struct ClusterReview: Sendable {
    let client: RedisClient

    /// A review of the Cluster of `client`.
    package init(_ client: RedisClient) { self.client = client }

    private static let deadline: Duration = .seconds(5)

    /// The findings about the Cluster and about each primary, whose messages begin with its address.
    /// - Throws: `RedisError` if a primary does not reply.
    package func findings() async throws -> [ServerFinding] {
        let primaries = try await client.primaries()
        var findings = [try await slots(primaries)]
        for primary in primaries {
            let node = "\(primary.configuration.endpoint)"
            for var finding in try await ServerReview(primary).findings() + replicas(of: primary) {
                finding.message = "node \(node): \(finding.message)"
                findings.append(finding)
            }
        }
        return findings
    }

    /// Whether every hash slot has a primary.
    package func slots(_ primaries: [RedisClient]) async throws -> ServerFinding {
        guard let primary = primaries.first else { return Self.slots([:], primaries: 0) }
        do {
            let text = try await primary.send(RedisCommand("CLUSTER", "INFO"), deadline: Self.deadline).string ?? ""
            return Self.slots(ServerReview.fields(text), primaries: primaries.count)
        } catch let error as RedisError where error.kind == .server {
            return ServerReview.unreadable("slots", "CLUSTER INFO", error)
        }
    }

    static func slots(_ info: [String: String], primaries: Int) -> ServerFinding {
        let served = info["cluster_slots_ok"].flatMap(Int.init) ?? 0
        if served == HashSlot.count, info["cluster_state"] == "ok" {
            return .ok("slots", "\(primaries) primaries have all \(served) hash slots")
        }
        return .fail(
            "slots", "the Redis Cluster serves \(served) of \(HashSlot.count) hash slots",
            "redis-cli --cluster check HOST:PORT shows which node is away; queues in the other slots wait")
    }

    /// Whether the primary has a Redis replica that can replace it.
    package func replicas(of primary: RedisClient) async throws -> [ServerFinding] {
        do {
            let role = try await primary.send(RedisCommand("ROLE"), deadline: Self.deadline).array ?? []
            guard role.count == 3, let replicas = role[2].array else { return [] }
            if replicas.isEmpty {
                return [
                    .warn(
                        "replicas", "it has no Redis replica: while it is away, its queues stop",
                        "redis-cli --cluster add-node NEW:PORT HOST:PORT --cluster-slave")
                ]
            }
            return [.ok("replicas", "\(replicas.count == 1 ? "1 Redis replica" : "\(replicas.count) Redis replicas")")]
        } catch let error as RedisError where error.kind == .server {
            return [ServerReview.unreadable("replicas", "ROLE", error)]
        }
    }

    // MARK: Rights

    /// Checks on each primary that this user may do what the functions and the workers do: each node has its own
    /// users. Needs the library on each.
    ///
    /// A function runs on the node of its keys, so each primary is asked about a partition of the queue that it has, or
    /// would have. A user who is limited to the names of some queues is told about the queue itself only.
    /// - Parameter queue: it need not exist.
    /// - Throws: ``SchedulerError``.
    package func rights(on queue: String, logger: Logger) async throws -> [ServerFinding] {
        let first = try await ServerReview.rights(QueueFunctions(queue: queue, client: client, logger: logger))
        guard first.level == .ok, let home = address(queue, 0) else { return [first] }
        var numbers: [String: Int] = [:]
        for number in 1...PartitionNames.largest {
            if let node = address(queue, number), numbers[node] == nil { numbers[node] = number }
        }
        // Refused under another name where the queue itself is: the user is limited by name.
        if let number = numbers.removeValue(forKey: home), try await refusal(queue, number, logger) != nil {
            return [first]
        }
        var findings: [ServerFinding] = []
        for (node, number) in numbers.sorted(by: { $0.key < $1.key }) {
            guard var finding = try await refusal(queue, number, logger) else { continue }
            finding.message = "node \(node): \(finding.message)"
            findings.append(finding)
        }
        return findings.isEmpty ? [first] : findings
    }

    /// Returns the address of the primary of a partition, as far as is known.
    private func address(_ queue: String, _ number: Int) -> String? {
        client.knownPrimary(of: Keys(queue: queue, number: number).prefix)
            .map { "\($0.configuration.endpoint)" }
    }

    /// Returns what this user may not do on a partition; nil if nothing.
    private func refusal(_ queue: String, _ number: Int, _ logger: Logger) async throws -> ServerFinding? {
        do {
            let finding = try await ServerReview.rights(
                QueueFunctions(queue: queue, partition: number, client: client, logger: logger))
            return finding.level == .ok ? nil : finding
        } catch SchedulerError.internal(let message, redisAway: false) {
            // The user may not even call a function, or is unknown there.
            return .fail("rights", message, Self.rightsAdvice)
        }
    }

    private static let rightsAdvice = "each node has its own users: give this user the same rights on all of them"

    // MARK: Partitions

    /// Tells which primary has which partition of a queue, and whether one has several while another has none.
    /// - Throws: `RedisError` if the Cluster does not reply.
    package static func spread(of queue: String, _ partitions: Partitions) async throws -> ServerFinding {
        let client = partitions.instances[0]
        var homes: [(name: String, slot: Int, node: String)] = []
        for number in partitions.numbers(of: queue) {
            let keys = Keys(queue: queue, number: number)
            let node = try await client.primary(of: keys.prefix).configuration.endpoint
            homes.append((keys.name, PartitionNames.slot(queue: queue, number: number), "\(node)"))
        }
        let primaries = try await client.primaries().map { "\($0.configuration.endpoint)" }
        return spread(homes, primaries: primaries)
    }

    static func spread(_ homes: [(name: String, slot: Int, node: String)], primaries: [String]) -> ServerFinding {
        let nodes = Dictionary(grouping: homes, by: \.node)
        let shown = homes.map { "{\($0.name)} slot \($0.slot) on \($0.node)" }.joined(separator: ", ")
        let without = primaries.filter { nodes[$0] == nil }
        guard let crowded = nodes.values.first(where: { $0.count > 1 }), !without.isEmpty else {
            return .ok("spread", shown)
        }
        return .warn(
            "spread",
            "\(crowded.map { "{\($0.name)}" }.joined(separator: " and ")) share the primary \(crowded[0].node), and "
                + "\(without.joined(separator: ", ")) has no partition of the queue",
            "move the hash slot of one of them (redis-cli --cluster reshard): \(shown)")
    }
}
