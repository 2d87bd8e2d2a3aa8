import RedisClient
import SwitchyardTesting
import Testing

/// Keys of a wrong type in a queue without scheduling options, where functions check only the indexes that they write.
@Suite("Keys of a wrong type in a queue without options")
struct PlainTypeTests {
    private func report(_ queue: TestQueue, _ ids: [String]) async throws {
        let reports = ids.flatMap { ["task", .string($0), "attempt", "1", "outcome", "completed"] as [RedisArgument] }
        try await queue.call("finish", ["worker", "w"] + reports)
    }

    @Test(arguments: ["finished", "leases"])
    func aReportThatCannotBeNotedAsAWholeIsRefused(key: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 2)
            try await queue.submit([("a", [:]), ("b", [:])])
            #expect(try await queue.take("w", max: 2) == ["a", "b"])
            let leases = try await queue.raw("ZRANGE", "{}leases", "0", "-1", "WITHSCORES").array ?? []
            try await queue.raw("DEL", "{}" + key)
            try await queue.raw("SET", "{}" + key, "x")
            #expect(try await refusal { try await report(queue, ["a", "b"]) } != nil)
            #expect(try await queue.state("a") == "running")
            #expect(try await queue.raw("HEXISTS", "{}attempts:w", "a").int == 1)
            try await queue.raw("DEL", "{}" + key)
            if key == "leases" {
                for at in stride(from: 0, to: leases.count, by: 2) {
                    try await queue.raw("ZADD", "{}leases", leases[at + 1].string ?? "", leases[at].string ?? "")
                }
            }
            try await queue.snapshot()
            try await report(queue, ["a", "b"])
            #expect(try await queue.number("completed") == 2)
        }
    }

    @Test func countersOfAWrongTypeAreReplaced() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 2)
            try await queue.submit([("a", [:]), ("b", [:])])
            #expect(try await queue.take("w", max: 2) == ["a", "b"])
            try await queue.raw("DEL", "{}stats")
            try await queue.raw("SET", "{}stats", "x")
            try await report(queue, ["a", "b"])
            #expect(try await queue.number("completed") == 2)
            try await queue.reconcileAll()
        }
    }
}
