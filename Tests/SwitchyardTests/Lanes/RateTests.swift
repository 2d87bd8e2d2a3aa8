import RedisClient
import SwitchyardTesting
import Testing

@Suite("Rate limits")
struct RateTests {
    /// Rates whose interval is no whole number of microseconds, and one whose interval is.
    static let rates = ["3", "6", "7", "11", "30", "60", "99.9", "0.3", "0.7", "0.003", "5"]

    private func limit(_ rate: String, burst: Int, key: String = "api") -> [String: String] {
        ["rate_key": key, "rate_per_second": rate, "rate_burst": "\(burst)"]
    }

    /// Lets time pass for a queue whose worker is `w`.
    private func wait(_ seconds: Int, _ queue: TestQueue) async throws {
        try await queue.age(by: .seconds(seconds))
        try await queue.call("heartbeat", "worker", "w")
        try await queue.tick()
    }

    /// Pulls and completes tasks as `w`. Returns their ids.
    private func run(_ queue: TestQueue, max: Int = 100) async throws -> [String] {
        let got = try await queue.pull("w", max: max, start: true)
        for task in got { try await queue.finish("w", task.id, attempt: task.attempt, "completed") }
        return got.map(\.id)
    }

    @Test(arguments: rates, [1, 2, 3])
    func anyRateLetsItsBurstStartAndNoMore(rate: String, burst: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 10)
            try await queue.submit((0..<6).map { ("t\($0)", limit(rate, burst: burst)) })
            // A call has a single time: it starts what the burst allows, however long the test takes.
            #expect(try await queue.take("w", max: 10) == (0..<burst).map { "t\($0)" })
            #expect(try await queue.stats().running == burst)
        }
    }

    @Test(arguments: ["3", "7", "0.3"])
    func aReportThatPullsTheNextTaskIsAnsweredAtAnyRate(rate: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await queue.submit("first", priority: .critical)
            try await queue.submit([("t0", limit(rate, burst: 2)), ("t1", limit(rate, burst: 2))])
            #expect(try await queue.take("w") == ["first"])
            let reply = try await queue.call(
                "finish", "worker", "w", "pull", "1", "start", "1", "task", "first", "attempt", "1", "outcome",
                "completed")
            #expect(reply[0]?[0]?.string == "completed")
            #expect(reply[1]?.assignments.map(\.id) == ["t0"])
        }
    }

    /// 0.003 a second: one start in 333 1/3 s. 0.007: one in 142 6/7 s. 0.03: one in 33 1/3 s.
    @Test(arguments: [("0.003", 332, 2), ("0.007", 141, 2), ("0.03", 32, 2)])
    func aRateThatDoesNotDivideIsKept(rate: String, early: Int, rest: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 10)
            try await queue.submit((0..<6).map { ("t\($0)", limit(rate, burst: 1)) })
            #expect(try await run(queue) == ["t0"])
            for next in ["t1", "t2"] {
                try await wait(early, queue)
                #expect(try await run(queue) == [], "\(next) is early")
                #expect(try await queue.call("get", "task", .string(next))[0]?.pairs["held_by"]?.string == "rate_limit")
                try await wait(rest, queue)
                #expect(try await run(queue) == [next])
            }
        }
    }

    @Test(arguments: [1, 2, 5], [30, 65, 200])
    func timeThatPassesUnusedIsNoMoreThanTheBurst(burst: Int, seconds: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            try await queue.submit((0..<60).map { ("t\($0)", limit("0.1", burst: burst)) })
            var started = try await run(queue).count
            #expect(started == burst)
            for _ in 0..<(seconds / 10) { try await wait(10, queue) }
            let credit = min(burst, seconds / 10)
            #expect(try await run(queue).count == credit)
            started += credit
            #expect(try await run(queue) == [])
            try await wait(10, queue)
            #expect(try await run(queue) == ["t\(started)"])
        }
    }

    @Test(arguments: [3, 20, 90])
    func aTurnBelongsToTheMostUrgentTaskOfItsMoment(waiting: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            for n in 0..<waiting { try await queue.submit("low\(n)", priority: .low, limit("0.1", burst: 1)) }
            #expect(try await run(queue) == ["low0"])
            try await queue.submit("urgent", priority: .critical, limit("0.1", burst: 1))
            try await queue.submit("normal", limit("0.1", burst: 1))
            #expect(try await run(queue) == [])
            for expected in ["urgent", "normal", "low1", "low2"] {
                try await wait(10, queue)
                #expect(try await run(queue) == [expected])
            }
        }
    }

    @Test(arguments: [5, 60])
    func theTurnsOfCancelledTasksAreNotTaken(waiting: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            for n in 0...waiting { try await queue.submit("low\(n)", priority: .low, limit("0.1", burst: 1)) }
            #expect(try await run(queue) == ["low0"])
            try await queue.call("cancel", (1...waiting).flatMap { ["task", .string("low\($0)")] })
            try await queue.submit("urgent", priority: .critical, limit("0.1", burst: 1))
            #expect(try await run(queue) == [])
            try await wait(10, queue)
            #expect(try await run(queue) == ["urgent"])
        }
    }

    @Test func theTurnsOfOneKeyAreNotThoseOfAnother() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            for key in ["org-a", "org-b", "org-c"] {
                try await queue.submit((0..<10).map { ("\(key)-\($0)", limit("0.3", burst: 1, key: key)) })
            }
            #expect(try await run(queue) == ["org-a-0", "org-b-0", "org-c-0"])
            for _ in 0..<5 { try await wait(4, queue) }
            #expect(try await run(queue) == ["org-a-1", "org-b-1", "org-c-1"])
        }
    }
}
