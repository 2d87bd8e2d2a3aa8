import Logging
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardBench

/// A queue of several partitions in a Redis Cluster.
@Suite(.serialized, .timeLimit(.minutes(10))) struct ClusterSpreadTests {
    @Test(arguments: [1, 3, 4, 7]) func eachPartitionHasItsShare(count: Int) async throws {
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let tasks = 500 * count
        let client = try await ClusterFarm.shared.makeClient()
        do {
            let partitions = try Partitions(on: [client], count: count)
            let queue = "spread-\(count)"
            let result = try await SpreadLoad(partitions, perCall: 1).run(tasks: tasks, queue: queue, logger: logger)
            #expect(result.tasks.count == count)
            #expect(result.tasks.reduce(0, +) == tasks)
            let shares = result.tasks.map { Double($0) * Double(count) / Double(tasks) }
            #expect(shares.allSatisfy { $0 >= 0.85 && $0 <= 1.15 }, "\(shares)")
            #expect(try await ClusterReview.spread(of: queue, partitions).level == .ok)
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
    }
}
