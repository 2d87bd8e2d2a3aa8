import Foundation
import Logging
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardBench

/// A queue of several partitions in a Redis Cluster.
@Suite(.serialized, .timeLimit(.minutes(10))) struct ClusterSpreadTests {
    /// How many tasks a run has; many, for figures that a machine without other work repeats: µs of Redis a task.
    private static let measured = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SPREAD"].flatMap { Int($0) }

    /// With as many callers that each server finds several calls whenever it reads its sockets.
    private func load(_ partitions: Partitions, _ perCall: Int) -> SpreadLoad {
        var load = SpreadLoad(partitions, perCall: perCall)
        load.callers = perCall == 1 ? 512 : 32
        return load
    }

    @Test(arguments: measured == nil ? [1] : [1, 100]) func eachPartitionHasItsShare(perCall: Int) async throws {
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let tasks = Self.measured ?? 2000
        let single = try await TestRedis.start()
        // Without Redis replicas, as the single server.
        let farm = try await ClusterFarm.start(replicas: 0)
        let client = try farm.makeClient()
        let partitions = try Partitions(on: [client], count: 4)
        do {
            try await FunctionLibrary(client: client, logger: logger).ensureLoaded()
            var costs: (alone: [Double], spread: [Double]) = ([], [])
            for round in 0..<(Self.measured == nil ? 1 : 5) {
                let alone = try await load(Partitions(single.client), perCall)
                    .run(tasks: tasks, queue: "alone-\(round)", logger: logger)
                costs.alone.append(alone.cpuMicroseconds)
                let queue = "spread-\(round)"
                let spread = try await load(partitions, perCall)
                    .run(tasks: tasks, queue: queue, logger: logger)
                costs.spread.append(spread.cpuMicroseconds)
                #expect(spread.tasks.reduce(0, +) == tasks)
                let shares = spread.tasks.map { Double($0) / Double(tasks) }
                // All tasks of a call go to one partition: 40 calls are too few for equal shares.
                let least = perCall == 1 || tasks > 100_000 ? 0.85 : 0.2
                #expect(shares.allSatisfy { $0 >= 0.25 * least && $0 <= 0.25 * (2 - least) }, "\(shares)")
                #expect(try await ClusterReview.spread(of: queue, partitions).level == .ok)
                if Self.measured != nil { print("cluster spread: \(perCall) a call, \(shares)") }
            }
            if Self.measured != nil {
                let (alone, spread) = (costs.alone.sorted()[2], costs.spread.sorted()[2])
                print("cluster spread: \(perCall) a call, \(alone) µs alone, \(spread) µs, \(spread / alone)")
                #expect(spread / alone <= 1.1)
            }
        } catch {
            await client.shutdown()
            await farm.stop()
            await single.stop()
            throw error
        }
        await client.shutdown()
        await farm.stop()
        await single.stop()
    }
}
