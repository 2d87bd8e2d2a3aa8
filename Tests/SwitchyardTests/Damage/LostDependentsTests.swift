import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// The key `dependents:<id>` of a task is lost, or has a wrong type: nothing would tell the dependents of the task's
/// end.
@Suite("Lost dependents")
struct LostDependentsTests {
    enum Loss: String, CaseIterable {
        case set, entry, wrongType, cascade

        func happen(to queue: TestQueue) async throws {
            switch self {
            case .set: try await queue.raw("DEL", "{}dependents:d1")
            case .entry: try await queue.raw("ZREM", "{}dependents:d1", "t")
            case .wrongType:
                try await queue.raw("DEL", "{}dependents:d1")
                try await queue.raw("SET", "{}dependents:d1", "x")
            // Loses the list of the ends that dependents have not been told of.
            case .cascade: try await queue.raw("DEL", "{}cascade")
            }
        }
    }

    enum Outcome: String, CaseIterable { case completed, failed }

    @Test(arguments: Loss.allCases, [1, 2, 3])
    func isFoundBeforeTheEnd(loss: Loss, count: Int) async throws {
        for outcome in Outcome.allCases {
            for isAnyway in [false, true] {
                try await TestQueue.run { queue in
                    let ids = try await prepare(queue, count: count, isAnyway: isAnyway)
                    try await loss.happen(to: queue)
                    let repaired = try await queue.reconcileAll(limit: 2)
                    #expect((repaired > 0) == (loss != .cascade))
                    try await queue.snapshot()
                    for id in ids { try await end(id, outcome, queue) }
                    try await check(queue, outcome, isAnyway)
                }
            }
        }
    }

    @Test(arguments: Loss.allCases, [1, 2, 3])
    func isFoundAfterTheEnd(loss: Loss, count: Int) async throws {
        for outcome in Outcome.allCases {
            for isAnyway in [false, true] {
                for isPurged in [false, true] {
                    try await TestQueue.run { queue in
                        let ids = try await prepare(queue, count: count, isAnyway: isAnyway)
                        try await loss.happen(to: queue)
                        if loss == .wrongType { try await queue.raw("DEL", "{}dependents:d1") }
                        for id in ids { try await end(id, outcome, queue) }
                        if isPurged { try await queue.call("purge", ids.flatMap { ["task", .string($0)] }) }
                        _ = try await queue.reconcileAll(limit: 2)
                        try await queue.tickUntilDone()
                        // The outcome of a task whose hash is gone is unknown.
                        let isUnknown = isPurged && loss != .cascade
                        try await check(queue, isUnknown ? .failed : outcome, isAnyway)
                        #expect(try await queue.reconcileAll() == 0)
                    }
                }
            }
        }
    }

    /// A call tells a bounded number of dependents of an end and leaves the rest to the ticks. The list for the ticks
    /// is lost.
    @Test(arguments: [30, 120], Outcome.allCases)
    func hearOfAnEndThatWasOnlyHalfTold(count: Int, outcome: Outcome) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 500)
            try await queue.submit("d", maxRetries: 0)
            try await queue.submit((0..<count).map { ("t\($0)", ["depends_on": "d"]) })
            #expect(try await queue.take("w") == ["d"])
            try await end("d", outcome, queue)
            #expect(try await queue.raw("DEL", "{}cascade").int == 1)
            _ = try await queue.reconcileAll(limit: 7)
            try await queue.tickUntilDone()
            let states = try await queue.states(of: (0..<count).map { "t\($0)" })
            #expect(Set(states) == [outcome == .completed ? "pending" : "cancelled"])
            #expect(try await queue.reconcileAll() == 0)
        }
    }

    /// A few tasks have a thousand dependencies each; the reconciler checks them in parts.
    @Test(arguments: [1, 3, 5])
    func ofTasksThatWaitForVeryMany(count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            let ids = (0..<400).map { "d\($0)" }
            try await queue.submit(ids.map { ($0, [:]) })
            for n in 0..<count { try await queue.submit("t\(n)", ["depends_on": ids.joined(separator: ",")]) }
            let before = try await queue.snapshot()
            for id in ids.prefix(300) { try await queue.raw("DEL", "{}dependents:" + id) }
            #expect(try await queue.reconcileAll() == 300 * count)
            #expect(try await queue.snapshot().changes(since: before, ignoring: ["stats repaired"]) == [])
        }
    }

    /// Submits `t`, which depends on `count` running tasks.
    private func prepare(_ queue: TestQueue, count: Int, isAnyway: Bool) async throws -> [String] {
        let ids = (1...count).map { "d\($0)" }
        for id in ids { try await queue.submit(id, maxRetries: 0) }
        var options = ["depends_on": ids.joined(separator: ",")]
        if isAnyway { options["run_anyway"] = "1" }
        try await queue.submit("t", options)
        try await queue.register("w", slots: 50)
        #expect(try await queue.take("w", max: 50) == ids)
        return ids
    }

    private func end(_ id: String, _ outcome: Outcome, _ queue: TestQueue) async throws {
        try await queue.call(
            "finish", "worker", "w", "task", .string(id), "attempt", "1", "outcome", .string(outcome.rawValue))
    }

    private func check(_ queue: TestQueue, _ outcome: Outcome, _ isAnyway: Bool) async throws {
        if outcome == .completed || isAnyway {
            #expect(try await queue.take("w", max: 5) == ["t"])
        } else {
            #expect(try await queue.states(of: ["t"]) == ["cancelled"])
        }
    }
}
