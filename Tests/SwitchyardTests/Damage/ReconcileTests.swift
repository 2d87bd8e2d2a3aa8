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
