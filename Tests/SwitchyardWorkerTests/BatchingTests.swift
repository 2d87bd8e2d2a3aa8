import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Synchronization
import Testing

/// Workers whose calls report and pull many tasks.
@Suite struct BatchingTests {
    private static let settings = quickSettings.merging(["max_queue_length": 10_000, "lease_ms": 15_000]) { $1 }

    /// Submits `count` tasks with the ids t0, t1, … and returns these.
    private func submit(_ count: Int, to queue: TestQueue) async throws -> [String] {
        let ids = (0..<count).map { "t\($0)" }
        for start in stride(from: 0, to: count, by: 500) {
            _ = try await queue.handle.addTasks(
                ids[start..<min(start + 500, count)].map { QueuedTask(BuildRequest(), id: $0) })
        }
        return ids
    }

    /// Waits until `count` tasks have completed. Reads the statistics without FCALL, because a test counts those calls.
    private func waitForCompleted(
        _ count: Int, in queue: TestQueue, within limit: Duration = .seconds(40),
        before each: () async throws -> Void = {}
    ) async throws {
        let isDone = try await eventually(within: limit, every: .milliseconds(20)) {
            try await each()
            return try await queue.raw("HGET", "{}stats", "completed").int == Int64(count)
        }
        #expect(isDone)
    }

    private func expectEachCompletedOnce(_ ids: [String], in queue: TestQueue) async throws {
        for start in stride(from: 0, to: ids.count, by: 500) {
            let tasks = try await queue.handle.getTasks(Array(ids[start..<min(start + 500, ids.count)]))
            #expect(tasks.allSatisfy { $0?.state == .completed && $0?.attempts.map(\.attempt) == [1] })
        }
        let stats = try await queue.handle.getStats()
        #expect(stats.completed == ids.count)
        #expect(stats.retries == 0 && stats.lost == 0)
    }

    @Test(arguments: [1, 7, 16, 100, 250]) func noOpWorkerCompletesEachTaskOnce(slots: Int) async throws {
        try await TestQueue.run(settings: Self.settings) { queue in
            // One slot needs a call for each task.
            let count = TestLength.of(slots == 1 ? 1000 : 3000, long: 5000)
            let ids = try await submit(count, to: queue)
            try await queue.withWorker(slots: slots, handler: NoOpHandler()) { _ in
                try await waitForCompleted(count, in: queue)
            }
            try await expectEachCompletedOnce(ids, in: queue)
        }
    }

    @Test func eachCallReportsAndPullsAsManyTasksAsAreReady() async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis, settings: Self.settings) { queue in
                _ = try await submit(5000, to: queue)
                try await queue.raw("CONFIG", "RESETSTAT")
                try await queue.withWorker(slots: 200, handler: NoOpHandler()) { _ in
                    try await waitForCompleted(5000, in: queue)
                    let usage = try await queue.raw("INFO", "commandstats").string ?? ""
                    let calls = usage.firstMatch(of: /cmdstat_fcall:calls=([0-9]+)/).flatMap { Int($0.1) }
                    // 50 full calls, the replica's ticks, and the partly filled calls at the end.
                    #expect(calls.map { (50...200).contains($0) } == true, "\(usage)")
                }
            }
        }
    }

    /// Counts the attempts that run at once. Each runs for up to 2 ms.
    private struct CountingHandler: TaskHandler {
        let most = Counter()
        let running = Counter()

        func run(_ attempt: Attempt) async -> AttemptOutcome {
            most.raise(to: running.add(1))
            try? await Task.sleep(for: .microseconds(Int.random(in: 0...2000)))
            _ = running.add(-1)
            return .completed()
        }
    }

    private final class Counter: Sendable {
        private let number = Mutex(0)
        var value: Int { number.withLock { $0 } }

        func add(_ amount: Int) -> Int {
            number.withLock { number in
                number += amount
                return number
            }
        }

        func raise(to other: Int) {
            number.withLock { $0 = max($0, other) }
        }
    }

    @Test func fullCallsNeverPullMoreThanTheSlots() async throws {
        try await TestQueue.run(settings: Self.settings) { queue in
            let ids = try await submit(2000, to: queue)
            let handler = CountingHandler()
            try await queue.withWorker(slots: 40, handler: handler) { _ in
                var most = 0
                let isDone = try await eventually(within: .seconds(40)) {
                    let stats = try await queue.handle.getStats()
                    most = max(most, stats.assigned + stats.running)
                    return stats.completed == 2000
                }
                #expect(isDone)
                #expect(most <= 40)
            }
            #expect(handler.most.value <= 40)
            #expect(handler.most.value > 10)
            try await expectEachCompletedOnce(ids, in: queue)
        }
    }

    /// Completes every task in place, except those whose id begins with "slow": these run until `isOpen`, or until they
    /// are cancelled.
    private struct MixedHandler: TaskHandler {
        let isOpen = Counter()
        let cancelled = Counter()

        func run(_ attempt: Attempt) async -> AttemptOutcome {
            while isOpen.value == 0 {
                if (try? await Task.sleep(for: .milliseconds(2))) == nil {
                    _ = cancelled.add(1)
                    return .completed()
                }
            }
            return .completed()
        }

        func runAtOnce(_ attempt: Attempt) -> AttemptOutcome? {
            attempt.id.hasPrefix("slow") ? nil : .completed()
        }
    }

    @Test func aSlowTaskDoesNotHoldUpTheReportsOfFastOnes() async throws {
        try await TestQueue.run(settings: Self.settings) { queue in
            let handler = MixedHandler()
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "slow"))
            let ids = try await submit(1000, to: queue)
            try await queue.withWorker(slots: 32, handler: handler) { _ in
                try await waitForCompleted(1000, in: queue)
                #expect(try await queue.handle.getTask("slow").state == .running)
                #expect(handler.isOpen.add(1) == 1)
                #expect(try await queue.ended("slow").state == .completed)
            }
            try await expectEachCompletedOnce(ids + ["slow"], in: queue)
        }
    }

    @Test func aCancelledTaskAmongManyEndsAloneAndIsNotReported() async throws {
        try await TestQueue.run(settings: Self.settings) { queue in
            let handler = MixedHandler()
            for index in 0..<20 { _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "slow\(index)")) }
            let ids = try await submit(100, to: queue)
            try await queue.withWorker(slots: 64, handler: handler) { _ in
                _ = try await queue.running("slow7")
                #expect(try await queue.handle.cancelTask("slow7").state == .cancelled)
                #expect(try await eventually { handler.cancelled.value == 1 })
                for id in ids { #expect(try await queue.ended(id).state == .completed) }
                #expect(handler.isOpen.add(1) == 1)
                for index in 0..<20 where index != 7 {
                    #expect(try await queue.ended("slow\(index)").state == .completed)
                }
            }
            #expect(try await queue.handle.getTask("slow7").state == .cancelled)
            #expect(handler.cancelled.value == 1)
        }
    }

    @Test func timeLimitsOfManyTasksAreWatchedAtOnce() async throws {
        try await TestQueue.run(settings: Self.settings) { queue in
            // The later ones have the earlier deadlines.
            for index in 0..<10 {
                try await queue.submit(command: [], id: "slow\(index)", timeout: .milliseconds(600 - 50 * index))
            }
            try await queue.withWorker(slots: 10, handler: MixedHandler()) { _ in
                for index in 0..<10 {
                    let task = try await queue.ended("slow\(index)")
                    #expect(task.state == .timeout)
                    #expect(task.failure?.code == "Timeout")
                }
            }
        }
    }

    /// The worker learns at once of the assignments of a lost reply, not when their leases expire.
    @Test func tasksOfLostRepliesAreNeitherLostNorRunTwice() async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis, settings: Self.settings) { queue in
                let ids = try await submit(8000, to: queue)
                let own = try redis.makeClient()
                try await queue.withWorker(slots: 200, client: own, handler: NoOpHandler()) { _ in
                    try await waitForCompleted(8000, in: queue, within: .seconds(14)) {
                        try await queue.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                    }
                }
                await own.shutdown()
                try await expectEachCompletedOnce(ids, in: queue)
            }
        }
    }
}
