import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Fairness, affinity and aging")
struct FairnessTests {
    /// How many of `count` assignments each tenant gets while all of them always have pending tasks.
    private func shares(
        _ queue: TestQueue, of count: Int, _ tenants: [(key: String, weight: String)], phase: Int = 1
    ) async throws -> [String: Int] {
        var got: [String: Int] = [:]
        var number = 0
        for _ in 0..<(count / 100) {
            // Each tenant always has 100 pending tasks; the first one submits the largest groups.
            let pending = try await queue.raw("ZRANGE", "{}pending", "0", "-1").array?.compactMap(\.string) ?? []
            for (key, weight) in tenants {
                let missing = 100 - pending.filter { $0.hasPrefix(key) }.count
                guard missing > 0 else { continue }
                let prefix = "\(key)-\(phase)-\(number)-"
                try await queue.submit(
                    (0..<missing).map { ("\(prefix)\($0)", ["fairness_key": key, "fairness_weight": weight]) })
                number += 1
            }
            let ids = try await queue.take("w", max: 100)
            for id in ids { got[String(id.prefix { $0 != "-" }), default: 0] += 1 }
            let ends: [RedisArgument] = ids.flatMap {
                ["task", .string($0), "attempt", "1", "outcome", "completed"] as [RedisArgument]
            }
            try await queue.call("finish", ["worker", "w"] + ends)
        }
        return got
    }

    @Test func tenantsShareByTheirWeightsAndWhoWakesUpHasNoArrears() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 10_000]) { queue in
            try await queue.register("w", slots: 100)
            let two = [(key: "a", weight: "1"), (key: "b", weight: "3")]
            // The third tenant submitted once, and then nothing for an hour.
            try await queue.submit([("c-first", ["fairness_key": "c"])])
            try await queue.take("w")
            try await queue.end("c-first")
            let got = try await shares(queue, of: 4000, two)
            #expect((920...1080).contains(got["a"] ?? 0), "\(got)")
            #expect((2920...3080).contains(got["b"] ?? 0), "\(got)")
            try await queue.age(by: .seconds(3600))
            try await queue.call("heartbeat", "worker", "w")
            let three = try await shares(queue, of: 1000, two + [(key: "c", weight: "1")], phase: 2)
            #expect((180...220).contains(three["c"] ?? 0), "\(three)")
            #expect((180...220).contains(three["a"] ?? 0), "\(three)")
            try await queue.purgeAll()
        }
    }

    @Test func priorityIsAboveFairness() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            for n in 0..<3 { try await queue.submit("n\(n)", ["fairness_key": "a", "fairness_weight": "1000"]) }
            for n in 0..<3 { try await queue.submit("c\(n)", priority: .critical, ["fairness_key": "b"]) }
            #expect(try await queue.runAll("w") == ["c0", "c1", "c2", "n0", "n1", "n2"])
        }
    }

    @Test(arguments: [Ending.retried, .cancelled, .workerLost, .released])
    func anEndedAttemptDisturbsNobodysShare(ending: Ending) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            try await queue.register("w")
            try await queue.submit([("a", ["fairness_key": "a"]), ("b", ["fairness_key": "b"])])
            try await queue.pull("w", start: ending != .released)
            try await ending.happen(to: "a", of: "w", in: queue)
            try await queue.register("w")
            let left = try await queue.runAll("w")
            #expect(left == (ending == .cancelled ? ["b"] : ["a", "b"]))
        }
    }

    @Test func nothingWaitsBeyondItsBoundUnderEndlessCriticalLoad() async throws {
        // A level is worth a minute: a low task waits at most three minutes for critical ones.
        try await TestQueue.run(settings: ["aging_ms": 60_000, "max_queue_length": 5000]) { queue in
            try await queue.register("w")
            for priority in TaskPriority.allCases { try await queue.submit("p\(priority.level)", priority: priority) }
            var startedAfter: [String: Int] = [:]
            for second in stride(from: 0, through: 240, by: 5) {
                try await queue.submit("c\(second)", priority: .critical)
                try await queue.call("heartbeat", "worker", "w")
                // Fewer tasks end than are submitted: critical tasks are always pending.
                for id in try await queue.take("w") {
                    if id.hasPrefix("p") { startedAfter[id] = second }
                    try await queue.end(id)
                }
                if second % 60 == 0 { try await queue.submit("more\(second)", priority: .critical) }
                try await queue.age(by: .seconds(5))
            }
            #expect(startedAfter.count == 4, "\(startedAfter)")
            #expect(startedAfter["p\(TaskPriority.low.level)"] ?? 999 <= 240)
            #expect(startedAfter["p\(TaskPriority.high.level)"] ?? 999 <= 100)
        }
    }

    @Test(arguments: [Situation.pending, .heldBySchedule, .running])
    func agingIsNotChangedUnderTasksWhosePlacesItIsPartOf(situation: Situation) async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: situation)
            try await expectRefusal("BADREQUEST") { try await queue.call("configure", "aging_ms", "60000") }
            try await queue.call("cancel", "task", "t")
            try await queue.call("configure", "aging_ms", "60000")
        }
    }

    @Test func aWarmWorkerIsPreferredWithinALevelAndForATime() async throws {
        try await TestQueue.run { queue in
            for worker in ["w1", "w2"] { try await queue.register(worker) }
            try await queue.submit([("a", ["affinity_key": "repo-a"]), ("b", ["affinity_key": "repo-b"])])
            #expect(try await queue.take("w1") == ["a"])
            #expect(try await queue.take("w2") == ["b"])
            for id in ["a", "b"] { try await queue.end(id) }
            try await queue.submit([("b2", ["affinity_key": "repo-b"]), ("a2", ["affinity_key": "repo-a"])])
            #expect(try await queue.take("w1") == ["a2"])
            #expect(try await queue.take("w2") == ["b2"])
            for id in ["a2", "b2"] { try await queue.end(id) }
            // Affinity is a preference: a worker without tasks of its own key takes others, and a task that has waited
            // long goes first.
            try await queue.submit("b3", ["affinity_key": "repo-b"])
            #expect(try await queue.take("w1") == ["b3"])
            try await queue.end("b3")
            try await queue.submit("d1", ["affinity_key": "repo-d"])
            #expect(try await queue.take("w2") == ["d1"])
            try await queue.submit("d2", ["affinity_key": "repo-d"])
            try await queue.age(by: .seconds(11))
            for worker in ["w1", "w2"] { try await queue.call("heartbeat", "worker", .string(worker)) }
            try await queue.submit("a4", ["affinity_key": "repo-a"])
            #expect(try await queue.take("w1") == ["d2"])
        }
    }
}

extension TestQueue {
    /// Deletes all tasks, ended or not.
    func purgeAll() async throws {
        while try await call("purge_queue", "confirm", .string(name), "limit", "500").int ?? 0 > 0 {}
    }
}
