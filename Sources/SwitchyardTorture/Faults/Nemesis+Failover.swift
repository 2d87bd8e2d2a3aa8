import Foundation
import SwitchyardTesting

// Faults after which another server has the queue.
extension Nemesis {
    func moveQueue(
        _ kind: FaultKind, _ aWhile: Duration, _ random: inout SeededGenerator
    ) async throws -> Blow {
        let isPlanned = random.oneIn(2)
        switch farm.redis.servers {
        case .sentinel(let sentinel) where kind == .sentinelFailover:
            return try await failOver(sentinel, isPlanned, aWhile)
        case .cluster(let cluster, let slot) where kind == .clusterFailover:
            return try await failOver(cluster, slot, isPlanned, aWhile)
        case .cluster(let cluster, let slot) where kind == .reshard:
            return try await reshard(cluster, slot, aWhile, &random)
        default: throw TortureError("\(kind.rawValue) cannot be made on \(farm.plan.redis.rawValue)")
        }
    }

    /// The sentinels replace the primary, because it was killed or because one of them was told to.
    private func failOver(_ sentinel: SentinelFarm, _ isPlanned: Bool, _ aWhile: Duration) async throws -> Blow {
        if isPlanned {
            try await sentinel.failover()
            return Blow(remark: "(planned)", forgets: .untilChange)
        }
        var former: Int?
        while former == nil { former = try await sentinel.primary() }
        guard let former else { return Blow() }
        await sentinel.servers[former].kill()
        try await sentinel.waitForFailover(from: former)
        try await Task.sleep(for: aWhile)
        try await sentinel.servers[former].start()
        return Blow(remark: "(killed)", forgets: .before)
    }

    /// A Redis replica replaces the primary of a slot, because that was killed or because the replica was told to,
    /// which loses nothing.
    private func failOver(
        _ cluster: ClusterFarm, _ slot: Int, _ isPlanned: Bool, _ aWhile: Duration
    ) async throws -> Blow {
        if isPlanned {
            try await cluster.failOver(slot)
            return Blow(remark: "(planned)")
        }
        let former = try await cluster.killOwner(of: slot)
        try await Task.sleep(for: aWhile)
        try await former.restart()
        return Blow(remark: "(killed)", forgets: .before)
    }

    /// The slot moves to another primary, and back. Each way is a fault of its own.
    private func reshard(
        _ cluster: ClusterFarm, _ slot: Int, _ aWhile: Duration, _ random: inout SeededGenerator
    ) async throws -> Blow {
        let home = try await cluster.owner(of: slot)
        var others: [ClusterNode] = []
        for other in 0..<ClusterFarm.slotCount where other % 1000 == 0 {
            let owner = try await cluster.owner(of: other)
            if owner !== home, !others.contains(where: { $0 === owner }) { others.append(owner) }
        }
        guard let target = others.randomElement(using: &random) else { throw TortureError("there is one primary") }
        let count = Int.random(in: 10...500, using: &random)
        try await cluster.reshard(slot, to: target, keysAtOnce: count)
        let there = Uptime.now
        try await Task.sleep(for: aWhile)
        let from = Uptime.now
        try await cluster.reshard(slot, to: home, keysAtOnce: count)
        return Blow(
            parts: [FaultRecord(kind: .reshard, targets: [], from: from, to: .now)],
            remark: "(\(count) keys at once)", to: there)
    }
}
