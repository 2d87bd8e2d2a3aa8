import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// Leases when Redis's clock passes over time in which nobody ticked, and when it is set back.
@Suite("Redis's clock")
struct ClockTests {
    private func now(_ queue: TestQueue) async throws -> Int {
        let time = try await queue.redis.client.send(RedisCommand("TIME")).array ?? []
        return Int(time[0].string ?? "0")! * 1000
    }

    private func tick(_ queue: TestQueue, interval: Int? = 500) async throws -> [String: Int] {
        let arguments: [RedisArgument] = interval.map { ["interval", .integer(Int64($0))] } ?? []
        return try await queue.call("tick", arguments).pairs.compactMapValues { value in
            value.int.map { Int($0) } ?? value.string.flatMap { Int($0) }
        }
    }

    /// As if nobody had ticked for `time` until now.
    private func pass(_ time: Duration, _ queue: TestQueue) async throws {
        try await queue.age(by: time)
        let last = try await now(queue) - time.milliseconds
        _ = try await queue.raw("HSET", "{}config", "ticked_at", "\(last)")
    }

    /// Starts `count` tasks on each of `workers` workers.
    private func start(_ count: Int, workers: Int, _ queue: TestQueue) async throws {
        for worker in 0..<workers {
            try await queue.register("w\(worker)", slots: count)
            try await queue.submit((0..<count).map { ("t\(worker)-\($0)", ["max_retries": "0"]) })
            var left = count
            while left > 0 { left -= try await queue.take("w\(worker)", max: min(left, 100)).count }
        }
    }

    @Test(arguments: [1, 30], [1, 3])
    func noLeaseEndsAfterAGapUntilWorkersHadTime(tasks: Int, workers: Int) async throws {
        try await TestQueue.run { queue in
            try await start(tasks, workers: workers, queue)
            _ = try await tick(queue)
            for _ in 1...2 {
                try await pass(.seconds(20), queue)
                for _ in 1...3 {
                    let reply = try await tick(queue)
                    #expect(reply["expired"] == 0 && reply["lost_workers"] == 0)
                    #expect(reply["forgiving_until"]! > reply["now"]!)
                    #expect(reply["next_due"]! > reply["now"]!)
                }
            }
            // One worker is alive.
            let alive = try WorkerClient(
                worker: "w0", queue: queue.name, client: queue.redis.client, logger: TestRedis.quiet)
            _ = try await alive.heartbeat([])
            _ = try await queue.raw("HSET", "{}config", "forgiving_until", "1")
            var lost = 0
            while true {
                let reply = try await tick(queue)
                lost += reply["lost_workers"] ?? 0
                if reply["more"] == 0 { break }
            }
            #expect(lost == workers - 1)
        }
    }

    @Test(arguments: [(20, 10_000), (1, 500), (20, nil as Int?)])
    func aPauseThatIsUsualForTheCallerIsNoGap(seconds: Int, interval: Int?) async throws {
        try await TestQueue.run(settings: ["lease_ms": 900, "heartbeat_ms": 300]) { queue in
            try await start(1, workers: 1, queue)
            _ = try await tick(queue, interval: interval)
            try await pass(.seconds(seconds), queue)
            let reply = try await tick(queue, interval: interval)
            #expect(reply["forgiving_until"] == 0)
            #expect(reply["expired"] == 1)
        }
    }

    @Test(arguments: [1, 200, 450])
    func aClockThatIsSetBackKeepsNoDeadWorkersLeases(tasks: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1000]) { queue in
            try await start(tasks, workers: 1, queue)
            _ = try await tick(queue)
            // The clock is set back by an hour: all stored times are in the future.
            try await pass(.seconds(-3600), queue)
            var reply = try await tick(queue, interval: nil)
            #expect((3_599_000...3_601_000).contains(reply["set_back_ms"]!))
            for _ in 0..<5 where reply["more"] == 1 { reply = try await tick(queue, interval: nil) }
            #expect(try await tick(queue, interval: nil)["set_back_ms"] == 0)
            let most = Double(try await now(queue) + 16_000)
            let snapshot = try await queue.snapshot()
            #expect(snapshot.sortedSet("leases").count == tasks)
            #expect(snapshot.sortedSet("leases").values.allSatisfy { $0 <= most })
            #expect(snapshot.sortedSet("workers").values.allSatisfy { $0 <= most })
            try await queue.age(by: .seconds(17))
            // Without an interval: a slow test is no gap.
            for _ in 0..<50 where try await tick(queue, interval: nil)["more"] == 1 {}
            #expect(try await queue.snapshot().sortedSet("leases").isEmpty)
        }
    }

    @Test(arguments: [1, 6])
    func aRedisThatStandsStillLosesNoTask(workers: Int) async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis, settings: ["lease_ms": 1500, "heartbeat_ms": 500])
            let info = try await redis.client.send(RedisCommand("INFO", "server")).string ?? ""
            let line = try #require(info.split(whereSeparator: \.isNewline).first { $0.hasPrefix("process_id:") })
            let process = try #require(Int32(line.dropFirst("process_id:".count)))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<2 {
                    let replica = try TaskScheduler(client: redis.client, queues: [queue.name], logger: TestRedis.quiet)
                    group.addTask { try await replica.run() }
                }
                for n in 0..<workers {
                    let worker = try Worker(
                        id: "w\(n)", queue: queue.name, client: redis.client, options: WorkerOptions(slots: 2),
                        handler: Patient(), logger: TestRedis.quiet)
                    group.addTask { try await worker.run() }
                }
                var ids: [String] = []
                for n in 0..<(workers * 2) {
                    var task = QueuedTask(BuildRequest(), id: "t\(n)")
                    task.maxRetries = 0
                    ids.append(try await queue.handle.addTask(task).task.id)
                }
                #expect(
                    try await eventually {
                        try await queue.handle.getTasks(ids).allSatisfy { $0?.state == .running }
                    })
                kill(process, SIGSTOP)
                // The pause of the machine is what is tested.
                try await Task.sleep(for: .seconds(5))
                kill(process, SIGCONT)
                #expect(
                    try await eventually(within: .seconds(40)) {
                        try await queue.handle.getTasks(ids).allSatisfy { $0?.state.isTerminal == true }
                    })
                // The workers end their attempts when the leases end by their own clocks, and hand them back.
                for task in try await queue.handle.getTasks(ids) {
                    #expect(task?.state == .completed)
                    #expect(task?.retryCount == 0)
                }
                group.cancelAll()
            }
        }
    }

    /// Runs for longer than the rest of the lease at its first attempt.
    private struct Patient: TaskHandler {
        func run(_ attempt: Attempt) async -> AttemptOutcome {
            do {
                try await Task.sleep(for: attempt.number == 1 ? .seconds(9) : .seconds(1))
                return .completed()
            } catch {
                return .failed(TaskFailure(code: "Cancelled", message: "cancelled"))
            }
        }
    }
}
