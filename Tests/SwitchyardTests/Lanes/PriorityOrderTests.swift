import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Places in line when settings change")
struct PlaceTests {
    /// The order in which the pending tasks start.
    private func order(_ queue: TestQueue) async throws -> [String] { try await queue.runAll("w") }

    @Test(arguments: [(1000, 0), (60_000, 0), (604_800_000, 0), (60_000, 1000)])
    func aRetriedTaskStandsInItsLevelWhateverAgingWasBefore(before: Int64, after: Int64) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await queue.call("configure", "aging_ms", .integer(before))
            for priority in TaskPriority.allCases { try await queue.submit("old-\(priority)", priority: priority) }
            let old = TaskPriority.allCases.map { "old-\($0)" }
            try await queue.call("cancel", old.flatMap { ["task", .string($0)] as [RedisArgument] })
            try await queue.call("configure", "aging_ms", .integer(after))
            #expect(try await queue.outcomes("retry", old) == old.map { _ in "pending" })
            for priority in TaskPriority.allCases { try await queue.submit("new-\(priority)", priority: priority) }
            #expect(try await queue.number("pending_low") == 2)
            #expect(try await order(queue) == TaskPriority.allCases.flatMap { ["old-\($0)", "new-\($0)"] })
        }
    }

    @Test(arguments: [1000, 20_000, 60_000], TaskPriority.allCases)
    func aTaskFromBeforeTheAgingGrowsOldLikeTheOthers(aging: Int64, priority: TaskPriority) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await queue.submit("old", priority: priority)
            try await queue.call("cancel", "task", "old")
            try await queue.call("configure", "aging_ms", .integer(aging))
            try await queue.call("retry", "task", "old")
            // The task has waited for longer than all levels together are worth.
            try await queue.pass(.milliseconds(aging * 4), heartbeats: ["w"])
            try await queue.submit("new", priority: .critical)
            #expect(try await order(queue) == ["old", "new"])
        }
    }

    @Test(arguments: ["gpu", "os=linux"], [0, 5000])
    func aTaskInALaneToo(requires: String, last: Int64) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", ["labels": "gpu,os=linux"])
            let options = ["requires": requires]
            try await queue.call("configure", "aging_ms", "60000")
            try await queue.submit("old", priority: .low, options)
            // Aging is switched on and off while the task is cancelled, and the task is retried under each setting.
            for aging: Int64 in [0, 1000, 60_000, last] {
                try await queue.call("cancel", "task", "old")
                try await queue.call("configure", "aging_ms", .integer(aging))
                #expect(try await queue.outcomes("retry", ["old"]) == ["pending"])
            }
            for priority in TaskPriority.allCases { try await queue.submit("\(priority)", priority: priority, options) }
            #expect(try await queue.number("pending_low") == 2)
            #expect(try await queue.runAll("w") == ["critical", "high", "normal", "old", "low"])
        }
    }

    // MARK: Fair queues

    private static let moves: [(TaskPriority, TaskPriority)] = [
        (.normal, .high), (.low, .critical), (.high, .normal), (.critical, .low),
    ]

    @Test(arguments: moves)
    func aTaskOfABusyTenantGetsItsShareInItsNewLevel(from: TaskPriority, to: TaskPriority) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2000]) { queue in
            try await queue.register("w")
            let ids = (0..<400).map { "a\($0)" }
            try await queue.submit(ids.map { ($0, ["fairness_key": "a", "priority": from.rawValue]) })
            let moved = ["a399", "a398", "a397"]
            try await queue.call(
                "prioritize", ["priority", .string(to.rawValue)] + moved.flatMap { ["task", .string($0)] })
            let rest = ids.filter { !moved.contains($0) }
            try await queue.call("cancel", rest.flatMap { ["task", .string($0)] as [RedisArgument] })
            try await expectShare(of: moved, against: "b", at: to, in: queue)
        }
    }

    @Test(arguments: moves)
    func aTaskFromALevelThatHasStartedMuchGetsItsShareToo(from: TaskPriority, to: TaskPriority) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2000]) { queue in
            try await queue.register("w", slots: 100)
            // The virtual time of the level is far ahead: 300 starts of a tenant with a small weight.
            for round in 0..<3 {
                try await queue.submit(
                    (0..<100).map {
                        (
                            "r\(round)-\($0)",
                            ["fairness_key": "a", "fairness_weight": "0.01", "priority": from.rawValue]
                        )
                    })
                for id in try await queue.take("w", max: 100) { try await queue.end(id) }
            }
            try await queue.submit((0..<3).map { ("m\($0)", ["fairness_key": "c", "priority": from.rawValue]) })
            try await queue.call(
                "prioritize", "priority", .string(to.rawValue), "task", "m0", "task", "m1", "task", "m2")
            try await expectShare(of: ["m0", "m1", "m2"], against: "b", at: to, in: queue)
        }
    }

    @Test(arguments: ["0.01", "1"])
    func aMovedTaskChangesNothingInTheSharesOfTheOthers(weight: String) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2000]) { queue in
            try await queue.register("w")
            try await queue.submit((0..<100).map { ("b\($0)", ["fairness_key": "b", "priority": "high"]) })
            try await queue.submit(
                (0..<300).map { ("c\($0)", ["fairness_key": "c", "fairness_weight": weight, "priority": "low"]) })
            try await queue.call("prioritize", "priority", "high", "task", "c299")
            var got: [String: Int] = [:]
            for start in 0..<60 {
                try await queue.submit("d\(start)", priority: .high, ["fairness_key": "d"])
                let id = try #require(try await queue.take("w").first)
                got[String(id.prefix(1)), default: 0] += 1
                try await queue.end(id)
            }
            #expect(got["c"] == 1, "\(got)")
            #expect((25...34).contains(got["b"] ?? 0), "\(got)")
        }
    }

    /// Expects that the tasks `ids`, pending at `priority`, get their share while another tenant always has pending
    /// tasks there: all start within a few starts.
    private func expectShare(
        of ids: [String], against tenant: String, at priority: TaskPriority, in queue: TestQueue
    ) async throws {
        var missing = Set(ids)
        for start in 0..<(ids.count * 4) {
            try await queue.submit(
                (0..<2).map { ("\(tenant)-\(start)-\($0)", ["fairness_key": tenant, "priority": priority.rawValue]) })
            let got = try await queue.take("w")
            for id in got { try await queue.end(id) }
            missing.subtract(got)
        }
        #expect(missing.isEmpty)
    }
}
