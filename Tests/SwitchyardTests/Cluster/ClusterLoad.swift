import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Synchronization
import Testing

/// A queue in a Redis Cluster that is busy: a replica, workers, and callers that submit tasks.
final class ClusterLoad: Sendable {
    /// Counts how often each task ran.
    private struct Counting: TaskHandler {
        let load: ClusterLoad

        func run(_ attempt: Attempt) async -> AttemptOutcome {
            load.executions.withLock { $0[attempt.id, default: 0] += 1 }
            // Some attempts are under way whenever something happens to the Cluster.
            try? await Task.sleep(for: .milliseconds(Int.random(in: 0...5)))
            return .completed(result: ByteBuffer(string: attempt.id))
        }
    }

    let name: String
    let client: RedisClient
    let partitions: Partitions
    let handle: SchedulerHandle
    private let executions = Mutex<[String: Int]>([:])
    private let acknowledged = Mutex<[String: ContinuousClock.Instant]>([:])
    private let longestPause = Mutex<Duration>(.zero)
    /// Whether the callers stop.
    private let isOver = Mutex(false)

    init(_ client: RedisClient, partitions count: Int = 1) throws {
        name = "test-" + QueuedTask.randomID()
        self.client = client
        partitions = try Partitions(on: [client], count: count)
        handle = try SchedulerHandle(queue: name, partitions: partitions, logger: TestRedis.quiet)
    }

    /// The ids of the tasks whose submission succeeded, and when it did.
    var accepted: [String: ContinuousClock.Instant] { acknowledged.withLock { $0 } }
    /// How often each task ran.
    var runs: [String: Int] { executions.withLock { $0 } }
    /// The longest time that one submission took, with its repetitions.
    var pause: Duration { longestPause.withLock { $0 } }

    /// Runs `body` while callers submit tasks and workers run them, and then until no task is left.
    /// - Parameter lease: of attempts, in milliseconds.
    func run(
        callers: Int = 8, workers: Int = 2, lease: Int = 3000, _ body: () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            var config = SchedulerConfig()
            config.lease = .milliseconds(lease)
            config.heartbeat = .milliseconds(lease / 6)
            config.maxQueueLength = 1_000_000
            let scheduler = try TaskScheduler(
                partitions: partitions, queues: [name], config: config, logger: TestRedis.quiet)
            group.addTask { try await scheduler.run() }
            // Submissions before that find the default limit on the length.
            #expect(
                try await eventually(within: .seconds(30)) {
                    try await self.handle.configure([])["max_queue_length"] ?? 0 > 100_000
                })
            for number in 0..<workers {
                let worker = try Worker(
                    id: "w\(number)", queue: name, partitions: partitions, options: WorkerOptions(slots: 8),
                    handler: Counting(load: self), logger: TestRedis.quiet)
                group.addTask { try await worker.run() }
            }
            try await withThrowingTaskGroup(of: Void.self) { submitting in
                for caller in 0..<callers {
                    submitting.addTask {
                        var number = 0
                        while !self.isOver.withLock({ $0 }) {
                            number += 1
                            try await self.submit("c\(caller)-\(number)", count: number % 10 == 0 ? 20 : 1)
                            try await Task.sleep(for: .milliseconds(4))
                        }
                    }
                }
                do {
                    try await body()
                } catch {
                    self.isOver.withLock { $0 = true }
                    throw error
                }
                self.isOver.withLock { $0 = true }
                try await submitting.waitForAll()
            }
            #expect(
                try await eventually(within: .seconds(60)) {
                    let stats = try await self.handle.getStats()
                    return stats.pending == 0 && stats.running == 0
                })
            group.cancelAll()
        }
    }

    /// Submits tasks until that succeeds.
    private func submit(_ id: String, count: Int) async throws {
        let tasks = (0..<count).map { index -> QueuedTask in
            var task = QueuedTask(BuildRequest(), id: "\(id)-\(index)")
            task.maxRetries = 5
            task.requestToken = "\(id)-\(index)"
            return task
        }
        let start = ContinuousClock.now
        while true {
            do {
                if count == 1 { _ = try await handle.addTask(tasks[0]) } else { _ = try await handle.addTasks(tasks) }
                break
            } catch SchedulerError.internal(_, redisAway: true) {
                // While a slot has no primary. The same submission adds nothing twice.
            }
        }
        let now = ContinuousClock.now
        acknowledged.withLock { for task in tasks { $0[task.id] = now } }
        longestPause.withLock { $0 = max($0, now - start) }
    }

    /// Checks the keys of every partition, and that no other primary has any of them.
    func check(_ farm: ClusterFarm) async throws {
        for functions in partitions.functions(queue: name, logger: TestRedis.quiet) {
            try await Snapshot(reading: functions.keys, client: client).check()
            let owner = try await farm.owner(of: HashSlot.of(key: functions.keys.prefix.utf8))
            for node in farm.nodes where node !== owner {
                let role = try await node.client.send(RedisCommand("ROLE")).array
                guard role?.first?.string == "master" else { continue }
                var cursor = "0"
                repeat {
                    let page = try await node.client.send(
                        RedisCommand(
                            "SCAN", .string(cursor), "MATCH", .string(functions.keys.prefix + "*"), "COUNT", "10000"))
                    #expect(page.array?.last?.array == [], "\(node.address)")
                    cursor = page.array?.first?.string ?? "0"
                } while cursor != "0"
            }
        }
    }

    /// Returns the accepted tasks that do not exist any more. Checks that all others have completed, and ran as often
    /// as their attempts say.
    func lost() async throws -> [String] {
        let ids = accepted.keys.sorted()
        var lost: [String] = []
        for start in stride(from: 0, to: ids.count, by: 200) {
            let part = Array(ids[start..<min(start + 200, ids.count)])
            for (id, task) in zip(part, try await handle.getTasks(part)) {
                guard let task else {
                    lost.append(id)
                    continue
                }
                #expect(task.state == .completed, "\(id)")
                #expect(runs[id] ?? 0 >= 1, "\(id)")
            }
        }
        return lost
    }
}
