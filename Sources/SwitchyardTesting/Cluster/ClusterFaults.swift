import Foundation
import RedisClient

// What happens to a Redis Cluster: failovers, and slots that move.

extension ClusterFarm {
    /// Returns the slot of a key.
    public func slot(of key: String) async throws -> Int {
        for node in nodes {
            // A node that is down: the next one computes the same.
            if let slot = try? await node.cluster("KEYSLOT", key).int { return Int(slot) }
        }
        throw Failure(description: "no node of the Redis Cluster replies")
    }

    /// Returns the primary that has a slot, as the first node sees it that replies.
    public func owner(of slot: Int) async throws -> ClusterNode {
        for node in nodes {
            if let owner = await owner(of: slot, seenBy: node) { return owner }
        }
        throw Failure(description: "no node has slot \(slot)")
    }

    /// Returns the primary that has a slot, as most of the nodes see it that reply; nil: none replies. One that has
    /// just been started again knows only what was so before.
    public func ownerSeenByMost(of slot: Int) async -> ClusterNode? {
        let seen: [ClusterNode] = await withTaskGroup(of: ClusterNode?.self) { group in
            for node in nodes { group.addTask { await self.owner(of: slot, seenBy: node) } }
            return await group.reduce(into: [ClusterNode]()) { seen, owner in if let owner { seen.append(owner) } }
        }
        return Dictionary(grouping: seen, by: \.port).values.max { $0.count < $1.count }?.first
    }

    /// Nil: the node does not reply, or knows nobody who has the slot.
    private func owner(of slot: Int, seenBy node: ClusterNode) async -> ClusterNode? {
        // It fails for a node that is down.
        let reply = try? await node.client.send(RedisCommand("CLUSTER", "SLOTS"), deadline: .seconds(2))
        for range in reply?.array ?? [] {
            let parts = range.array ?? []
            guard parts.count > 2, let first = parts[0].int, let last = parts[1].int,
                (first...last).contains(Int64(slot)), let port = parts[2].array?.dropFirst().first?.int
            else { continue }
            if let owner = nodes.first(where: { $0.port == Int(port) }) { return owner }
        }
        return nil
    }

    /// Returns the Redis replicas of a primary that reply.
    public func replicas(of primary: ClusterNode) async throws -> [ClusterNode] {
        var found: [ClusterNode] = []
        for node in nodes where node !== primary {
            // A node that is down is no replica that replies.
            let role = try? await node.client.send(RedisCommand("ROLE"), deadline: .seconds(2)).array
            if role?.first?.string == "slave", role?.dropFirst(2).first?.int == Int64(primary.port) {
                found.append(node)
            }
        }
        return found
    }

    /// Makes a Redis replica of the slot's primary the primary (`CLUSTER FAILOVER`, which loses nothing). Returns the
    /// new primary when every node knows of it.
    @discardableResult
    public func failOver(_ slot: Int) async throws -> ClusterNode {
        let former = try await owner(of: slot)
        guard let replica = try await replicas(of: former).first else {
            throw Failure(description: "the primary \(former.address) of slot \(slot) has no Redis replica")
        }
        try await replica.cluster("FAILOVER")
        try await wait("\(replica.address) is the primary of slot \(slot)") {
            try await self.owner(of: slot) === replica
        }
        try await waitUntilComplete()
        return replica
    }

    /// Kills the primary of a slot, and returns it when one of its Redis replicas has replaced it.
    public func killOwner(of slot: Int) async throws -> ClusterNode {
        let former = try await owner(of: slot)
        await former.kill()
        try await wait("\(former.address) has been replaced as the primary of slot \(slot)") {
            try await self.owner(of: slot) !== former
        }
        return former
    }

    /// A slot that moves. Between ``begin()`` and ``end()`` the source has some of its keys, and the target the others.
    public struct Migration: Sendable {
        /// The slot.
        public let slot: Int
        /// The primary that has it.
        public let source: ClusterNode
        /// The primary that gets it.
        public let target: ClusterNode

        /// Announces the move to both nodes, as `redis-cli --cluster reshard` does.
        public func begin() async throws {
            try await target.cluster("SETSLOT", "\(slot)", "IMPORTING", source.id)
            try await source.cluster("SETSLOT", "\(slot)", "MIGRATING", target.id)
        }

        /// Moves up to `count` keys. Returns whether there are more.
        public func moveKeys(_ count: Int) async throws -> Bool {
            let keys = try await source.cluster("GETKEYSINSLOT", "\(slot)", "\(count)").array ?? []
            if keys.isEmpty { return false }
            _ = try await source.client.send(
                RedisCommand(
                    "MIGRATE", ["127.0.0.1", "\(target.port)", "", "0", "5000", "KEYS"],
                    keys.compactMap(\.bytes).map { .buffer($0) }))
            return true
        }

        /// Gives the slot to the target.
        public func end() async throws {
            // The target first: it raises its epoch, and tells the others.
            try await target.cluster("SETSLOT", "\(slot)", "NODE", target.id)
            do {
                try await source.cluster("SETSLOT", "\(slot)", "NODE", target.id)
            } catch let error as RedisError where error.message.contains("only with masters") {
                // It was the last slot of the source, which knows already and is a Redis replica now.
            }
        }
    }

    /// Returns a migration of a slot, which has not begun.
    public func migration(of slot: Int, to target: ClusterNode) async throws -> Migration {
        let source = try await owner(of: slot)
        guard source !== target else { throw Failure(description: "\(target.address) has slot \(slot) already") }
        return Migration(slot: slot, source: source, target: target)
    }

    /// Moves a slot with all its keys, and returns when every node knows of it.
    /// - Parameters:
    ///   - count: how many keys are moved at once.
    ///   - pause: how long both nodes wait between two moves.
    public func reshard(
        _ slot: Int, to target: ClusterNode, keysAtOnce count: Int = 100, pause: Duration = .zero
    ) async throws {
        let migration = try await migration(of: slot, to: target)
        try await migration.begin()
        // Without keys it is a move too.
        repeat { try await Task.sleep(for: pause) } while try await migration.moveKeys(count)
        try await migration.end()
        try await waitUntilComplete()
    }

    /// Gives slots that have no keys to another primary, all at once.
    public func giveEmptySlots(_ slots: Range<Int>, to target: ClusterNode) async throws {
        for slot in slots {
            for node in [target] + nodes.filter({ $0 !== target }) {
                try await node.cluster("SETSLOT", "\(slot)", "NODE", target.id)
            }
        }
        try await waitUntilComplete()
    }
}
