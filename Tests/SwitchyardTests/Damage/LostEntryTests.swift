import RedisClient
import SwitchyardTesting
import Testing

@Suite("Lost hashes and lost index entries")
struct GhostTests {
    /// The kinds of lanes in which a task may be pending.
    enum Line: String, CaseIterable, CustomTestStringConvertible {
        case plain, label, resource, concurrency, rate, both

        var testDescription: String { rawValue }

        var options: [String: String] {
            switch self {
            case .plain: [:]
            case .label: ["requires": "gpu"]
            case .resource: ["cpu": "1"]
            case .concurrency: ["concurrency_key": "k", "concurrency_limit": "100"]
            case .rate: ["rate_key": "r", "rate_per_second": "1000", "rate_burst": "1000"]
            case .both: ["requires": "gpu", "cpu": "1", "concurrency_key": "k", "concurrency_limit": "100"]
            }
        }
    }

    private func register(_ queue: TestQueue, slots: Int = 20) async throws {
        try await queue.register("w", slots: slots, ["labels": "gpu", "cpu": "20"])
    }

    private func lose(_ ids: [String], _ queue: TestQueue) async throws {
        try await queue.raw("DEL", ids.map { "{}task:" + $0 })
    }

    /// Removes `ids` from every index of the queue; the hashes of the tasks stay.
    private func forget(_ ids: [String], _ queue: TestQueue) async throws {
        let snapshot = try await Snapshot(reading: queue.keys, client: queue.redis.client)
        for (name, content) in snapshot.contents where !name.hasPrefix("dependents:") {
            guard case .sortedSet = content else { continue }
            try await queue.raw("ZREM", ["{}" + name] + ids)
        }
    }

    // MARK: Tasks whose hash is lost

    @Test(arguments: Line.allCases, [[0], [1], [0, 1], [0, 1, 2, 3], [4], [0, 2, 4]])
    func aLostTaskKeepsNobodyFromTheOthers(line: Line, lost: [Int]) async throws {
        try await TestQueue.run { queue in
            try await register(queue)
            let ids = (0..<5).map { "t\($0)" }
            try await queue.submit(ids.map { ($0, line.options) })
            try await lose(lost.map { ids[$0] }, queue)
            let left = ids.indices.filter { !lost.contains($0) }.map { ids[$0] }
            #expect(try await queue.take("w", max: 20) == left)
            for id in left { try await queue.end(id) }
            try await queue.submit([("next", line.options)])
            #expect(try await queue.take("w", max: 20) == ["next"])
            try await queue.end("next")
            try await queue.reconcileAll()
            #expect(try await queue.number("pending") == 0)
        }
    }

    @Test(arguments: Line.allCases)
    func aWorkerThatTakesOneAtATimeGetsThemToo(line: Line) async throws {
        try await TestQueue.run { queue in
            try await register(queue)
            let ids = (0..<12).map { "t\($0)" }
            try await queue.submit(ids.map { ($0, line.options) })
            // Every other task, and in the middle several in a row.
            let lost = [0, 2, 5, 6, 7, 11]
            try await lose(lost.map { ids[$0] }, queue)
            var got: [String] = []
            for _ in 0..<12 { got += try await queue.take("w") }
            #expect(got == [1, 3, 4, 8, 9, 10].map { ids[$0] })
            for id in got { try await queue.end(id) }
            try await queue.reconcileAll()
            #expect(try await queue.number("pending") == 0)
        }
    }

    @Test(arguments: Line.allCases)
    func lostTasksDoNotFillTheQueue(line: Line) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5]) { queue in
            try await register(queue)
            for round in 0..<3 {
                let ids = (0..<5).map { "t\(round)-\($0)" }
                #expect(try await refusal { try await queue.submit(ids.map { ($0, line.options) }) } == nil)
                try await lose(ids, queue)
                #expect(try await queue.take("w", max: 20).isEmpty)
                // A worker has pulled past all of them, and the reconciler runs.
                try await queue.reconcileAll()
                #expect(try await queue.number("pending") == 0)
            }
            for priority in ["critical", "high", "normal", "low"] {
                #expect(try await queue.number("pending_" + priority) == 0)
            }
        }
    }

    @Test(arguments: Line.allCases)
    func theReconcilerFindsLostTasksWithoutAWorker(line: Line) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 8]) { queue in
            let ids = (0..<8).map { "t\($0)" }
            try await queue.submit(ids.map { ($0, line.options) })
            try await lose(Array(ids.prefix(6)), queue)
            #expect(try await queue.reconcileAll(limit: 3) >= 6)
            #expect(try await queue.number("pending") == 2)
            #expect(try await queue.reconcileAll() == 0)
            try await queue.submit((0..<6).map { ("u\($0)", line.options) })
            try await register(queue)
            #expect(try await queue.take("w", max: 20) == ["t6", "t7"] + (0..<6).map { "u\($0)" })
        }
    }

    @Test(arguments: [1, 3])
    func lostTasksOfAConcurrencyKeyBlockItNotForEver(limit: Int) async throws {
        try await TestQueue.run(settings: ["lease_ms": 15_000]) { queue in
            try await register(queue)
            let options = ["concurrency_key": "k", "concurrency_limit": "\(limit)"]
            for _ in 0..<2 {
                let running = (0..<limit).map { "t\($0)" }
                try await queue.submit((running + ["next", "last"]).map { ($0, options) })
                #expect(try await queue.take("w", max: 20) == running)
                try await lose(running, queue)
                #expect(try await queue.take("w", max: 20).isEmpty)
                // Their leases are not renewed; then the reconciler runs.
                try await queue.pass(.seconds(16), heartbeats: ["w"])
                try await queue.tickUntilDone()
                try await queue.reconcileAll()
                var got = try await queue.take("w", max: 20)
                #expect(got == (limit == 1 ? ["next"] : ["next", "last"]))
                for id in got { try await queue.end(id) }
                got = try await queue.runAll("w")
                #expect(got == (limit == 1 ? ["last"] : []))
                try await queue.purgeAll()
            }
        }
    }

    // MARK: Tasks that are in no index

    private static let lives = Situation.allCases.filter { $0 != .none }

    @Test(arguments: lives)
    func theReconcilerPutsATaskBackThatStandsNowhere(situation: Situation) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 60_000, "lease_ms": 600_000]) { queue in
            for n in 0..<3 { try await queue.put("t\(n)", in: situation) }
            let ids = ["t0", "t1", "t2"]
            let names = ["pending", "held", "assigned", "running", "finished", "failed", "cancelled", "timeout"]
            func numbers() async throws -> [Int] {
                var numbers: [Int] = []
                for name in names { numbers.append(try await queue.number(name)) }
                return numbers
            }
            let before = try await numbers()
            try await forget(["t0", "t2"], queue)
            #expect(try await queue.reconcileAll(limit: 2) >= 2)
            #expect(try await queue.reconcileAll() == 0)
            #expect(try await numbers() == before)
            #expect(try await queue.states(of: ids) == ids.map { _ in state(situation) })
            // The tasks continue as if nothing had happened.
            switch situation {
            case .pending: #expect(try await queue.take(TestQueue.holder, max: 9) == ids)
            case .heldBySchedule, .heldByRetry:
                try await queue.pass(.seconds(90), heartbeats: [TestQueue.holder])
                try await queue.tick()
                #expect(try await queue.take(TestQueue.holder, max: 9).sorted() == ids)
            case .assigned, .running, .lastTry:
                try await queue.missHeartbeats(of: TestQueue.holder)
                try await queue.tick()
                #expect(try await queue.number("running") + queue.number("assigned") == 0)
            case .completed, .failed, .timeout, .cancelled:
                try await queue.age(by: .seconds(7201))
                #expect(try await queue.tick(cleanup: true).purged == 3)
            case .none: break
            }
        }
    }

    private func state(_ situation: Situation) -> String {
        switch situation {
        case .pending, .heldBySchedule, .heldByRetry, .none: "pending"
        case .assigned: "assigned"
        case .running, .lastTry: "running"
        case .completed, .failed, .timeout, .cancelled: situation.rawValue
        }
    }

    @Test(arguments: Line.allCases, [1, 4])
    func theReconcilerPutsATaskBackIntoItsLane(line: Line, count: Int) async throws {
        try await TestQueue.run { queue in
            try await register(queue)
            let ids = (0..<count).map { "t\($0)" }
            try await queue.submit(ids.map { ($0, line.options) })
            // All tasks of the lane, so that the lane itself is lost.
            try await forget(ids, queue)
            #expect(try await queue.take("w", max: 20).isEmpty)
            #expect(try await queue.reconcileAll() >= count)
            #expect(try await queue.take("w", max: 20) == ids)
        }
    }

    @Test(arguments: Line.allCases, ["held", "leases", "finished"])
    func aTaskThatStandsInAWrongIndexIsFoundByTheWorkersOfItsLane(line: Line, wrong: String) async throws {
        try await TestQueue.run { queue in
            try await register(queue)
            try await queue.submit([("t", line.options)])
            try await forget(["t"], queue)
            try await queue.raw("ZADD", "{}" + wrong, "99999999999999", "t")
            #expect(try await queue.reconcileAll() >= 1)
            #expect(try await queue.take("w", max: 20) == ["t"])
            #expect(try await queue.reconcileAll() == 0)
        }
    }

    @Test(arguments: ["cancel", "prioritize"], Line.allCases)
    func aCallThatLooksAtATaskPutsItBack(function: String, line: Line) async throws {
        try await TestQueue.run { queue in
            try await register(queue)
            let ids = ["t0", "t1"]
            try await queue.submit(ids.map { ($0, line.options) })
            try await forget(ids, queue)
            if function == "cancel" {
                #expect(try await queue.outcomes("cancel", ids) == ["cancelled", "cancelled"])
                #expect(try await queue.outcomes("retry", ids) == ["pending", "pending"])
            } else {
                try await queue.call("prioritize", "priority", "high", "task", "t0", "task", "t1")
            }
            #expect(try await queue.number("pending") == 2)
            #expect(try await queue.take("w", max: 20) == ids)
        }
    }

    @Test func countersThatAreWrongAreCountedAnew() async throws {
        try await TestQueue.run { queue in
            try await register(queue)
            let tasks = Line.allCases.flatMap { line in (0..<3).map { ("\(line)\($0)", line.options) } }
            try await queue.submit(tasks)
            try await queue.pull("w", max: 4)
            let before = try await queue.call("stats").pairs
            let names = ["pending", "assigned", "running", "pending_normal", "slots"]
            let stats = try await queue.raw("HGETALL", "{}stats").pairs
            for name in stats.keys where name != "repaired" {
                try await queue.raw("HINCRBY", "{}stats", name, "7")
            }
            try await queue.reconcileAll()
            let after = try await queue.call("stats").pairs
            for name in names { #expect(after[name] == before[name], "\(name)") }
        }
    }
}
