import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// The logs of a queue keep to its budget. `TestQueue.run` checks at the end of each test that the sums are right.
@Suite struct LogBudgetTests {
    /// What an entry counts besides its output.
    private static let entry = 32

    private func write(_ bytes: Int, to id: String, attempt: Int = 1, _ worker: WorkerClient) async throws {
        for start in stride(from: 0, to: bytes, by: 8000) {
            let data = ByteBuffer(repeating: UInt8(ascii: "."), count: min(8000, bytes - start))
            try await worker.log(taskID: id, attempt: attempt, [("stdout", data)])
        }
    }

    /// Submits tasks and starts them all on one worker.
    private func running(_ ids: [String], _ queue: TestQueue) async throws -> WorkerClient {
        let worker = try await queue.worker("w", slots: ids.count)
        for id in ids { try await queue.submit(id, maxRetries: 0) }
        var started = 0
        while started < ids.count { started += try await worker.pull(max: 100, holding: started).count }
        return worker
    }

    /// Ends a task, and waits until Redis's clock is beyond its end.
    private func end(
        _ id: String, in queue: TestQueue, _ outcome: String = "completed", attempt: Int = 1
    ) async throws {
        let before = try await queue.tick().now
        try await queue.finish("w", id, attempt: attempt, outcome)
        #expect(try await eventually { try await queue.tick().now > before + 1 })
    }

    private func bytes(of id: String, _ queue: TestQueue) async throws -> Int {
        try await queue.handle.readLog(id).reduce(0) { $0 + $1.data.readableBytes }
    }

    @Test(arguments: [["a", "b", "c", "d"], ["d", "b", "a", "c"], ["c", "d", "b", "a"]], ["completed", "failed"])
    func theLogsOfTheTasksThatEndedFirstGo(order: [String], outcome: String) async throws {
        try await TestQueue.run(settings: ["log_budget_bytes": 40_000]) { queue in
            let ids = ["a", "b", "c", "d", "e", "f"]
            let worker = try await running(ids, queue)
            for id in ids { try await write(9000, to: id, worker) }
            let one = 9000 + 2 * Self.entry
            // The logs of running tasks stay.
            try await queue.tick()
            #expect(try await queue.stats().logBytes == 6 * one)
            for id in order { try await end(id, in: queue, outcome) }
            let stats = try await queue.stats()
            #expect(stats.logBytes == 4 * one)
            #expect(stats.logBudget == 40_000)
            #expect(stats.logsRemoved == 2)
            for id in ids {
                let isRemoved = order.prefix(2).contains(id)
                #expect(try await bytes(of: id, queue) == (isRemoved ? 0 : 9000), "\(id)")
                #expect(try await queue.handle.getTask(id).logRemoved == (isRemoved ? 9000 : nil), "\(id)")
            }
            // A log that grows makes room for itself at once, and not when a tick comes.
            try await write(8000, to: "e", worker)
            #expect(try await queue.stats().logsRemoved == 3)
            #expect(try await queue.handle.getTask(order[2]).logRemoved == 9000)
        }
    }

    @Test(arguments: [5000, 300_000])
    func aTaskThatRunsAgainSaysWhatIsMissing(size: Int) async throws {
        try await TestQueue.run(settings: ["log_budget_bytes": 50]) { queue in
            let worker = try await running(["t"], queue)
            try await write(size, to: "t", worker)
            try await end("t", in: queue, "failed")
            #expect(try await bytes(of: "t", queue) == 0)
            try await queue.handle.retryTask("t")
            #expect(try await worker.pull(max: 1, holding: 0).count == 1)
            try await write(10, to: "t", attempt: 2, worker)
            try await write(10, to: "t", attempt: 2, worker)
            let log = try await queue.handle.readLog("t")
            #expect(log.map(\.missingBytes) == [size, 0])
            #expect(log.map(\.data.readableBytes) == [10, 10])
            try await end("t", in: queue, "failed", attempt: 2)
            #expect(try await queue.handle.getTask("t").logRemoved == size + 20)
            #expect(try await queue.stats().logsRemoved == 2)
        }
    }

    @Test func deletedTasksTakeTheirLogsOutOfTheSum() async throws {
        try await TestQueue.run { queue in
            let worker = try await running(["a", "b", "c"], queue)
            for id in ["a", "b", "c"] { try await write(1000, to: id, worker) }
            for id in ["a", "b"] { try await end(id, in: queue) }
            try await queue.handle.purgeTask("a")
            #expect(try await queue.stats().logBytes == 2 * (1000 + Self.entry))
            // The id is used again.
            try await queue.submit("a")
            _ = try await worker.pull(max: 1, holding: 1)
            try await write(10, to: "a", attempt: 2, worker)
            #expect(try await bytes(of: "a", queue) == 10)
            try await queue.handle.configure([("retention_ms", 0)])
            try await queue.tick(cleanup: true)
            #expect(try await queue.stats().logBytes == 1000 + 10 + 2 * Self.entry)
            try await queue.handle.purgeQueue(confirm: queue.name)
            #expect(try await queue.stats().logBytes == 0)
            #expect(try await queue.stats().logsRemoved == 0)
        }
    }

    @Test func runningTasksDoNotHideTheEndedOnes() async throws {
        try await TestQueue.run(settings: ["log_budget_bytes": 20_000]) { queue in
            let quiet = (0..<150).map { "t\($0)" }
            let worker = try await running(quiet + ["ended"], queue)
            for id in quiet { try await write(100, to: id, worker) }
            try await write(5000, to: "ended", worker)
            try await end("ended", in: queue)
            for _ in 0..<5 { try await queue.tick() }
            #expect(try await queue.handle.getTask("ended").logRemoved == 5000)
            #expect(try await queue.stats().logBytes == 150 * (100 + Self.entry))
        }
    }

    enum Damage: CaseIterable { case sum, taskBytes, index, logOfNoTask, lostLog, ofAnEarlierLibrary }

    @Test(arguments: Damage.allCases)
    func theReconcilerCountsAgain(damage: Damage) async throws {
        try await TestQueue.run { queue in
            let worker = try await running(["a", "b"], queue)
            for id in ["a", "b"] { try await write(9000, to: id, worker) }
            switch damage {
            case .sum: try await queue.raw("HSET", "{}stats", "log_bytes", "77")
            case .taskBytes: try await queue.raw("HSET", "{}task:a", "log_bytes", "5")
            case .index: try await queue.raw("ZREM", "{}logs", "a")
            case .logOfNoTask: try await queue.raw("XADD", "{}log:gone", "1-0", "data", "x")
            case .lostLog: try await queue.raw("DEL", "{}log:a")
            case .ofAnEarlierLibrary:
                try await queue.raw("HDEL", "{}task:a", "log_bytes")
                try await queue.raw("ZREM", "{}logs", "a")
                try await queue.raw("HINCRBY", "{}stats", "log_bytes", "-9064")
            }
            let repaired = try await queue.reconcileAll()
            #expect((repaired > 0) == (damage != .ofAnEarlierLibrary))
            let kept = damage == .lostLog ? 1 : 2
            #expect(try await queue.stats().logBytes == kept * (9000 + 2 * Self.entry))
            #expect(try await queue.reconcileAll() == 0)
        }
    }

    @Test func theBudgetIsAShareOfTheMemory() async throws {
        try await TestRedis.run(arguments: ["--maxmemory", "64mb"]) { redis in
            try await TestQueue.run(on: redis) { queue in
                #expect(try await queue.stats().logBudget == 16 << 20)
                try await queue.handle.configure([("log_budget_bytes", 5_000_000_000)])
                #expect(try await queue.stats().logBudget == 5_000_000_000)
                try await queue.handle.configure([("log_budget_bytes", 0)])
                #expect(try await queue.stats().logBudget == 16 << 20)
            }
        }
        try await TestQueue.run { queue in
            let stats = try await queue.stats()
            #expect(stats.logBudget == 1 << 30)
        }
    }

    /// Twelve tasks that print more than their cap each, in a Redis that has no room for their logs.
    @Test func aSmallRedisTakesTasksAfterMuchOutput() async throws {
        try await TestRedis.run(arguments: ["--maxmemory", "24mb"]) { redis in
            try await TestQueue.run(on: redis) { queue in
                for number in 0..<12 {
                    let id = "t\(number)"
                    let worker = try await running([id], queue)
                    let data = ByteBuffer(repeating: UInt8(ascii: "."), count: 60_000)
                    for _ in 0..<80 { try await worker.log(taskID: id, attempt: 1, [("stdout", data)]) }
                    try await end(id, in: queue)
                    #expect(try await queue.stats().logBytes <= 6 << 20)
                }
                try await queue.submit("after")
                #expect(try await queue.handle.readLog("t11").isEmpty == false)
                #expect(try await queue.handle.readLog("t0").isEmpty)
            }
        }
    }
}
