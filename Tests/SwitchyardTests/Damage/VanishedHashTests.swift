import RedisClient
import SwitchyardTesting
import Testing

/// Tasks that lose their hash or their index entry while others continue: the first call that meets one repairs it at
/// once, without the reconciler.
@Suite("Tasks that vanish")
struct VanishedHashTests {
    enum Report: String, CaseIterable, CustomTestStringConvertible {
        /// With a pull, as a busy worker reports; without one; together with the report of another task.
        case andPull, alone, several

        var testDescription: String { rawValue }
    }

    @Test(arguments: Report.allCases)
    func aReportBringsNoTaskBack(report: Report) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 2)
            try await queue.submit([("a", [:]), ("b", [:]), ("next", [:])])
            #expect(try await queue.take("w", max: 2) == ["a", "b"])
            try await queue.raw("DEL", "{}task:a")
            var arguments: [RedisArgument] = ["worker", "w"]
            if report == .andPull { arguments += ["pull", "1", "start", "1"] }
            arguments += ["task", "a", "attempt", "1", "outcome", "completed"]
            if report == .several { arguments += ["task", "b", "attempt", "1", "outcome", "completed"] }
            let reply = try await queue.call("finish", arguments)
            #expect(reply[0]?[0]?.error?.code == "TASKNOTFOUND")
            #expect(reply[1]?.assignments.map(\.id) == (report == .andPull ? ["next"] : []))
            #expect(try await queue.raw("EXISTS", "{}task:a").int == 0)
            #expect(try await queue.number("completed") == (report == .several ? 1 : 0))
            #expect(try await queue.number("finished") == (report == .several ? 1 : 0))
            #expect(try await queue.number("repaired") == 1)
        }
    }

    @Test(arguments: [[:], ["requires": "gpu"]])
    func aPullStrikesWhatItMeets(options: [String: String]) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9, ["labels": "gpu"])
            try await queue.submit([("lost", options), ("there", options)])
            try await queue.raw("DEL", "{}task:lost")
            #expect(try await queue.take("w", max: 2) == ["there"])
            #expect(try await queue.number("pending") == 0)
            #expect(try await queue.number("repaired") == 1)
        }
    }

    @Test func aTaskThatHasEndedIsNotStartedFromALine() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit([("ended", [:]), ("there", [:])])
            #expect(try await queue.take("w") == ["ended"])
            try await queue.end("ended")
            try await queue.raw("ZADD", "{}pending", "1", "ended")
            #expect(try await queue.take("w", max: 2) == ["there"])
            #expect(try await queue.state("ended") == "completed")
        }
    }

    @Test func theEndOfAWorkerFreesTheKeyOfATaskThatIsLost() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w1")
            try await queue.register("w2")
            let options = ["concurrency_key": "k", "concurrency_limit": "1"]
            try await queue.submit([("lost", options), ("next", options)])
            #expect(try await queue.take("w1") == ["lost"])
            try await queue.raw("DEL", "{}task:lost")
            try await queue.call("deregister", "worker", "w1")
            #expect(try await queue.take("w2") == ["next"])
        }
    }

    @Test(arguments: ["get", "explain"], [[:], ["requires": "gpu"]])
    func whoLooksAtATaskThatStandsNowherePutsItBack(function: String, options: [String: String]) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9, ["labels": "gpu"])
            try await queue.submit([("first", options), ("t", options)])
            let line = options.isEmpty ? "{}pending" : "{}pending:gpu"
            try await queue.raw("ZREM", line, "t")
            try await queue.call(function, "task", "t")
            #expect(try await queue.raw("ZRANK", line, "t").int == 1)
            #expect(try await queue.take("w", max: 2) == ["first", "t"])
        }
    }
}
