import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Reservations")
struct ReservationTests {
    /// Lets seconds pass until `id` runs. After each, all running tasks end one after the other, and after each end its
    /// worker pulls. Returns the number of seconds.
    private func seconds(
        until id: String, running: inout [String: [String]], most: Int, _ queue: TestQueue
    ) async throws -> Int {
        for second in 1...most {
            try await queue.pass(.seconds(1), heartbeats: running.keys.sorted())
            for worker in running.keys.sorted() {
                for ended in running[worker] ?? [] {
                    try await queue.end(ended)
                    running[worker]?.removeAll { $0 == ended }
                    let got = try await queue.take(worker, max: 8)
                    running[worker]? += got
                    if got.contains(id) { return second }
                }
            }
        }
        return most
    }

    private static let bigTasks: [(priority: TaskPriority, cpu: String, small: String)] = [
        (.high, "4", "1"), (.critical, "4", "0.5"), (.high, "3", "1"),
    ]

    @Test(arguments: bigTasks, [0, 5000])
    func aMoreUrgentTaskIsNotStarvedByALaneOfSmallOnes(
        big: (priority: TaskPriority, cpu: String, small: String), reserveAfter: Int
    ) async throws {
        let settings = ["reserve_after_ms": reserveAfter, "lease_ms": 600_000, "max_queue_length": 2000]
        try await TestQueue.run(settings: settings) { queue in
            try await queue.register("w", slots: 8, ["cpu": "4"])
            try await queue.submit((0..<300).map { ("s\($0)", ["cpu": big.small]) })
            var running = ["w": try await queue.take("w", max: 8)]
            // The small tasks have waited for longer than a reservation needs.
            try await queue.pass(.seconds(60), heartbeats: ["w"])
            _ = try await queue.take("w", max: 8)
            try await queue.submit("big", priority: big.priority, ["cpu": big.cpu])
            let seconds = try await seconds(until: "big", running: &running, most: 30, queue)
            #expect(seconds <= 10, "it started after \(seconds) s")
            #expect(try await queue.states(of: ["big", "s299"]) == ["running", "pending"])
        }
    }

    @Test(arguments: [1, 3])
    func aLaneWhoseTasksKeepStartingReservesNoWorker(others: Int) async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 1000, "lease_ms": 600_000]) { queue in
            try await queue.register("w", slots: 8, ["cpu": "4"])
            try await queue.submit((0..<40).map { ("s\($0)", ["cpu": "1"]) })
            var running = try await queue.take("w", max: 4)
            for round in 0..<5 {
                try await queue.pass(.seconds(10), heartbeats: ["w"])
                #expect(try await queue.take("w", max: 8).isEmpty)
                // A task without the resources that the small ones wait for.
                let free = (0..<others).map { "free\(round)-\($0)" }
                for id in free { try await queue.submit(id, priority: .low) }
                #expect(try await queue.take("w", max: 4) == free)
                for id in free { try await queue.end(id) }
                try await queue.end(running.removeFirst())
                let next = try await queue.take("w", max: 8)
                #expect(next == ["s\(round + 4)"])
                running += next
            }
        }
    }

    @Test(arguments: ["2", "6", "8"])
    func aTaskThatDoesNotDelayTheBigOneGoesFirst(cpu: String) async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 0]) { queue in
            try await queue.register("w", slots: 8, ["cpu": "8", "labels": "gpu"])
            try await queue.submit("first", ["cpu": "7"])
            #expect(try await queue.take("w") == ["first"])
            try await queue.submit("big", priority: .high, ["cpu": cpu])
            #expect(try await queue.take("w", max: 8).isEmpty)
            // They use a slot and no core, so the big task has room as early as before.
            try await queue.submit([("plain", [:]), ("label", ["requires": "gpu"])])
            #expect(try await queue.take("w", max: 8).sorted() == ["label", "plain"])
            try await queue.submit("core", ["cpu": "1", "timeout_ms": "86400000"])
            #expect(try await queue.take("w", max: 8) == (cpu == "2" || cpu == "6" ? ["core"] : []))
            try await queue.end("first")
            #expect(try await queue.take("w", max: 8).first == "big")
        }
    }

    private static let takeovers: [(reserved: TaskPriority, urgent: TaskPriority)] = [
        (.normal, .critical), (.low, .normal), (.high, .critical),
    ]

    @Test(arguments: takeovers, ["3", "4"])
    func aMoreUrgentTaskTakesTheReservationOver(
        priorities: (reserved: TaskPriority, urgent: TaskPriority), cpu: String
    ) async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 0]) { queue in
            try await queue.register("w", slots: 8, ["cpu": "4", "labels": "gpu"])
            try await queue.submit("first", ["cpu": "2"])
            #expect(try await queue.take("w") == ["first"])
            try await queue.submit("big", priority: priorities.reserved, ["cpu": "4"])
            #expect(try await queue.take("w", max: 8).isEmpty)
            try await queue.submit("urgent", priority: priorities.urgent, ["cpu": cpu, "requires": "gpu"])
            #expect(try await queue.take("w", max: 8).isEmpty)
            try await queue.end("first")
            #expect(try await queue.take("w", max: 8) == ["urgent"])
            try await queue.end("urgent")
            #expect(try await queue.take("w", max: 8) == ["big"])
        }
    }

    @Test(arguments: [["w1", "w2"], ["w2", "w1"]], [2, 3])
    func theWorkerThatHasTheRoomSoonestIsReserved(order: [String], workers: Int) async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 0, "lease_ms": 600_000]) { queue in
            // Only the second worker has room soon.
            let limits = ["w1": "7200000", "w2": "60000", "w3": "3600000"]
            let workers = ["w1", "w2", "w3"].prefix(workers)
            for worker in workers {
                try await queue.register(worker, slots: 8, ["cpu": "8"])
                try await queue.submit("on-" + worker, ["cpu": "4", "timeout_ms": limits[worker] ?? ""])
                #expect(try await queue.take(worker) == ["on-" + worker])
            }
            try await queue.submit("big", ["cpu": "8"])
            for worker in order { #expect(try await queue.take(worker, max: 8).isEmpty) }
            // Long tasks, each of which would delay the big one on that worker only.
            try await queue.submit((0..<workers.count).map { ("long\($0)", ["cpu": "1", "timeout_ms": "7200000"]) })
            #expect(try await queue.take("w2", max: 8).isEmpty)
            for worker in order where worker != "w2" {
                #expect(try await queue.take(worker, max: 8).count == workers.count, "\(worker) is reserved")
            }
            try await queue.end("on-w2")
            #expect(try await queue.take("w2", max: 8) == ["big"])
        }
    }

    @Test(arguments: [3, 10])
    func aWorkerThatCouldNeverHoldTheTaskIsNotReserved(small: Int) async throws {
        try await TestQueue.run(settings: ["reserve_after_ms": 0]) { queue in
            try await queue.register("big-worker", slots: 8, ["cpu": "8"])
            try await queue.register("small-worker", slots: 20, ["cpu": "4", "memory_mb": "4096"])
            try await queue.submit("first", ["cpu": "4"])
            #expect(try await queue.take("big-worker") == ["first"])
            try await queue.submit("big", priority: .high, ["cpu": "8"])
            for worker in ["small-worker", "big-worker", "small-worker"] {
                #expect(try await queue.take(worker, max: 8).isEmpty)
            }
            let tasks = (0..<small).map { ("s\($0)", ["cpu": "0.25", "memory_mb": "100"]) }
            try await queue.submit(tasks)
            #expect(try await queue.take("big-worker", max: 20).isEmpty)
            #expect(try await queue.take("small-worker", max: 20) == tasks.map(\.0))
            try await queue.end("first")
            #expect(try await queue.take("big-worker", max: 8) == ["big"])
        }
    }
}
