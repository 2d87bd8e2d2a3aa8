import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Reconciling")
struct ReconcileTests {
    static let indexes = [
        "pending", "held", "waiting", "leases", "finished", "finished:failed", "finished:timeout", "finished:cancelled",
    ]

    @Test func aQueueInOrderIsLeftAlone() async throws {
        try await TestQueue.run { queue in
            for situation in Situation.allCases { try await queue.put(situation.rawValue, in: situation) }
            let before = try await queue.snapshot()
            #expect(try await queue.reconcileAll() == 0)
            #expect(try await queue.reconcileAll(limit: 1) == 0)
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test func aTaskThatStandsInAWrongIndexIsPutBackAndCounted() async throws {
        for situation in Situation.allCases where situation != .none {
            try await TestQueue.run { queue in
                try await queue.put("t", in: situation)
                let before = try await queue.snapshot()
                let wrongs = Self.indexes.filter { before.sortedSet($0)["t"] == nil }
                for wrong in wrongs {
                    try await queue.raw("ZADD", "{}" + wrong, "12345", "t")
                    #expect(try await queue.reconcileAll() == 1)
                    let after = try await queue.snapshot()
                    #expect(after.changes(since: before, ignoring: ["stats repaired"]) == [])
                }
                #expect(try await queue.stats().repaired == wrongs.count)
            }
        }
    }

    @Test func aTaskThatStandsOnlyInAWrongIndexIsMovedHome() async throws {
        for (situation, wrong) in [
            (Situation.pending, "finished"), (.heldByRetry, "pending"), (.heldBySchedule, "finished"),
            (.completed, "pending"), (.failed, "held"),
        ] {
            try await TestQueue.run { queue in
                try await queue.put("t", in: situation)
                let before = try await queue.snapshot()
                let home = try #require(Self.indexes.first { before.sortedSet($0)["t"] != nil })
                try await queue.raw("ZREM", "{}" + home, "t")
                try await queue.raw("ZADD", "{}" + wrong, "12345", "t")
                #expect(try await queue.reconcileAll() == 1)
                #expect(try await queue.snapshot().changes(since: before, ignoring: ["stats repaired"]) == [])
            }
        }
    }

    @Test func entriesOfTasksThatAreGoneAreDropped() async throws {
        try await TestQueue.run { queue in
            try await queue.submit("real")
            let before = try await queue.snapshot()
            for index in Self.indexes {
                for n in 0..<25 { try await queue.raw("ZADD", "{}" + index, "\(n)", "ghost-\(n)") }
            }
            #expect(try await queue.reconcileAll(limit: 10) == 200)
            #expect(try await queue.snapshot().changes(since: before, ignoring: ["stats repaired"]) == [])
        }
    }

    /// Class "" always exists. If all workers have labels, no worker of it pulls; nor does one of a class whose workers
    /// are busy.
    @Test(arguments: [1, 5, 130])
    func lanesWithoutWorkLeaveTheIndexesOfClassesThatDoNotPull(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("idle", slots: 4, ["labels": "gpu", "cpu": "8"])
            try await queue.register("w", slots: 200, ["labels": "os=linux"])
            for n in 0..<count {
                var options = ["concurrency_limit": "1", "concurrency_key": "k\(n)"]
                if n % 3 == 0 { options["cpu"] = "0.\(n % 5 + 1)" }
                try await queue.submit([("t\(n)", options)])
            }
            for n in 0..<count { try await queue.call("cancel", "task", "t\(n)") }
            func inIndexes() async throws -> [String] {
                try await queue.snapshot().contents.keys.filter { name in
                    name == "work" || name.hasPrefix("work:")
                }.sorted()
            }
            #expect(try await inIndexes() != [])
            #expect(try await queue.reconcileAll(limit: 7) == 0)
            #expect(try await inIndexes() == [])
            // A lane with work stays.
            try await queue.submit([("last", ["concurrency_key": "k0", "concurrency_limit": "1"])])
            let before = try await queue.snapshot()
            #expect(try await queue.reconcileAll(limit: 1) == 0)
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test(arguments: [0, 60000])
    func countersOfLanesAreCountedAgain(aging: Int) async throws {
        try await TestQueue.run(settings: ["aging_ms": aging]) { queue in
            for (n, priority) in ["critical", "high", "low", "low", "normal"].enumerated() {
                try await queue.submit([
                    ("a\(n)", ["priority": priority, "requires": "gpu"]), ("b\(n)", ["priority": priority]),
                ])
            }
            let limited = ["concurrency_key": "k", "concurrency_limit": "1", "priority": "critical"]
            try await queue.submit([("c0", limited), ("c1", limited), ("c2", limited)])
            try await queue.register("w", slots: 2)
            #expect(try await queue.take("w", max: 2) == ["b0", "c0"])
            // Groups of lanes without work are removed.
            #expect(try await queue.reconcileAll() == 0)
            let before = try await queue.snapshot()
            #expect(try await queue.reconcileAll() == 0)
            let names = ["in_lanes_critical", "in_lanes_high", "in_lanes_normal", "in_lanes_low", "blocked"]
            for name in names {
                for value in ["0", "-3", "77"] where before.hash("stats")[name] ?? "0" != value {
                    try await queue.raw("HSET", "{}stats", name, value)
                    #expect(try await queue.reconcileAll(limit: 3) == 1, "\(name) \(value)")
                    let after = try await queue.snapshot()
                    #expect(after.changes(since: before, ignoring: ["stats repaired"]) == [], "\(name) \(value)")
                }
            }
        }
    }

    /// The outcome of a task whose hash is lost is unknown.
    @Test(arguments: [1, 3, 60], ["pending", "leases", "none"])
    func whoeverWaitsForATaskThatIsGoneIsCancelled(count: Int, index: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            try await queue.submit([("gone", [:]), ("kept", ["priority": "low"])])
            if index == "leases" { #expect(try await queue.take("w") == ["gone"]) }
            try await queue.submit((0..<count).map { ("t\($0)", ["depends_on": "kept,gone"]) })
            try await queue.submit([
                ("anyway", ["depends_on": "gone", "run_anyway": "1"]), ("next", ["depends_on": "t0"]),
                ("free", ["depends_on": "kept"]),
            ])
            try await queue.raw("DEL", "{}task:gone")
            // An index that also lost the task says nothing about it.
            if index == "none" { try await queue.raw("ZREM", "{}pending", "gone") }
            _ = try await queue.reconcileAll()
            try await queue.tickUntilDone()
            let ids = (0..<count).map { "t\($0)" } + ["next"]
            #expect(try await queue.states(of: ids) == ids.map { _ in "cancelled" })
            let why = try await queue.call("get", "task", "t0")[0]?.pairs["error_message"]?.string
            #expect(why == "its dependency gone is gone")
            #expect(try await queue.runAll("w", holding: 100) == ["anyway", "kept", "free"])
            #expect(try await queue.reconcileAll() == 0)
        }
    }

    @Test func aGhostInLineIsNoReasonToStandStill() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w")
            try await queue.raw("ZADD", "{}pending", "1", "ghost")
            try await queue.submit("t")
            #expect(try await queue.pull("w").map(\.id) == ["t"])
            #expect(try await queue.stats().repaired == 1)
        }
    }

    @Test func aTickDropsWhatIsDueByMistake() async throws {
        try await TestQueue.run { queue in
            try await queue.submit("t")
            let before = try await queue.snapshot()
            for (index, id) in [("held", "t"), ("held", "ghost"), ("leases", "t"), ("leases", "ghost")] {
                try await queue.raw("ZADD", "{}" + index, "1", id)
            }
            try await queue.tick()
            #expect(try await queue.snapshot().changes(since: before, ignoring: ["stats repaired"]) == [])
            #expect(try await queue.stats().repaired == 4)
        }
    }
}
