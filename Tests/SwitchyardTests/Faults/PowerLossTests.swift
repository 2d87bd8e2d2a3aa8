import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// With `appendfsync everysec`, the machine may die up to two seconds after the last part of the append-only file that
/// is on the disk. The test cuts the file to what had been acknowledged two seconds before Redis was killed. It records
/// the sizes under `appendfsync always`, with which the file has a task before its submission is acknowledged.
@Suite("A power failure")
struct PowerLossTests {
    private struct Written: Sendable {
        var id: String
        var at: ContinuousClock.Instant
        /// The size of the append-only file after the task was acknowledged.
        var size: Int
    }

    /// - Parameter more: so many bytes more are on the disk, the beginning of a transaction.
    @Test(arguments: [0, 1, 60, 200])
    func losesTheLastTwoSecondsAndNothingElse(more: Int) async throws {
        let directory = "/tmp/switchyard-power-\(QueuedTask.randomID().prefix(8))"
        // In the directory of temporary files nothing depends on it.
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let redis = try await TestRedis.start(.always, directory: directory)
        let queue = try await TestQueue(on: redis, settings: ["max_queue_length": 100_000])
        // A client of its own: the replica closes its connections while Redis is away.
        let replica = try TaskScheduler(client: redis.makeClient(), queues: [queue.name], logger: .silent)
        let running = Task { try await replica.run() }
        let path = directory + "/appendonlydir/appendonly.aof.1.incr.aof"
        var written: [Written] = []
        let start = ContinuousClock.now
        while written.count < 20 || ContinuousClock.now - start < .seconds(3) {
            let id = "t\(written.count)"
            try await queue.submit(id)
            let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
            written.append(Written(id: id, at: .now, size: try #require(size)))
            try await Task.sleep(for: .milliseconds(5))
        }
        let ticked = try await eventually { replica.health.current[queue.name]?.ticks != nil }
        #expect(ticked)
        await redis.kill()
        let cut = try #require(written.last { ContinuousClock.now - $0.at > .seconds(2) })
        let kept = written.filter { $0.size <= cut.size }.map(\.id)
        let lost = written.dropFirst(kept.count).map(\.id)
        #expect(!kept.isEmpty && lost.count > 5)
        truncate(path, off_t(cut.size + more))
        try await redis.restart()

        for id in kept { #expect(try await queue.handle.getTask(id).state == .pending, "\(id)") }
        #expect(try await queue.stats().pending <= kept.count + 1)
        for id in lost.dropFirst() { try await expectError("TaskNotFound") { _ = try await queue.handle.getTask(id) } }
        let isNoticed = try await eventually(within: .seconds(30)) {
            replica.health.current[queue.name]?.wasSetBack == true
        }
        #expect(isNoticed && replica.health.current[queue.name]?.lostData == true)
        // Everything goes on, and what was cut does not come back with the next start.
        try await queue.submit(lost[1])
        await redis.kill()
        try await redis.restart()
        try await queue.register("w", slots: 10)
        let order = try await queue.runAll("w")
        #expect(order.filter { $0 != lost[0] } == kept + [lost[1]])
        running.cancel()
        _ = await running.result
        try await queue.snapshot()
        await redis.stop()
    }

    /// A replica does not take its own ticks, those of others, or a change of the clock for a loss.
    @Test(arguments: [1, 3])
    func noOtherReplicaAndNoClockIsALoss(replicas: Int) async throws {
        try await TestQueue.run { queue in
            let all = try (0..<replicas).map { _ in
                try TaskScheduler(client: queue.redis.client, queues: [queue.name], logger: .silent)
            }
            let running = all.map { replica in Task { try await replica.run() } }
            for hours in [0, 1, -1] {
                let ticks = try await queue.tick().now + hours * 3_600_000
                try await queue.raw("HSET", "{}config", "ticked_at", "\(ticks)")
                let before = all.map { $0.health.current[queue.name]?.ticks ?? 0 }
                let ticked = try await eventually(within: .seconds(30)) {
                    zip(all, before).allSatisfy { ($0.health.current[queue.name]?.ticks ?? 0) > $1 }
                }
                #expect(ticked)
            }
            #expect(all.allSatisfy { $0.health.current[queue.name]?.lostData == false })
            for task in running { task.cancel() }
            for task in running { _ = await task.result }
        }
    }
}
