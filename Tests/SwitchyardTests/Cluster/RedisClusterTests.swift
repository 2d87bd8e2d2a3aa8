import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Tests with a Redis Cluster. They follow one another, because most share one.
@Suite(.serialized, .timeLimit(.minutes(3))) struct RedisClusterTests {
    /// Calls `body` with the shared Cluster and a client of it.
    static func run(_ body: (ClusterFarm, RedisClient) async throws -> Void) async throws {
        let farm = try await ClusterFarm.shared
        let client = try farm.makeClient()
        do {
            try await body(farm, client)
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
    }

    /// Returns a primary that does not have the slot.
    static func another(_ farm: ClusterFarm, than slot: Int) async throws -> ClusterNode {
        let owner = try await farm.owner(of: slot)
        for other in 0..<ClusterFarm.slotCount {
            let node = try await farm.owner(of: (slot + other * 1000) % ClusterFarm.slotCount)
            if node !== owner { return node }
        }
        throw ClusterFarm.Failure(description: "one primary has all slots")
    }
}
