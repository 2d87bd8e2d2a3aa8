import NIOCore
import RedisClient
import SwitchyardTesting
import Testing

@Suite("Dependencies")
struct DependencyTests {
    @Test func runInOrderWhateverTheOrderOfTheirSubmission() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([
                ("link", ["depends_on": "a.o,b.o"]), ("a.o", ["depends_on": "config"]),
                ("b.o", ["depends_on": "config"]), ("config", [:]),
            ])
            try await queue.submit("test", ["depends_on": "link"])
            for expected in [["config"], ["a.o", "b.o"], ["link"], ["test"]] {
                #expect(try await queue.take("w", max: 4) == expected)
                for id in expected { try await queue.end(id, "completed", ["result": "of " + id]) }
            }
        }
    }

    @Test func theResultsAreHandedToTheDependentAlsoWhenItIsSentAgain() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([("a", [:]), ("b", ["depends_on": "a"])])
            try await queue.take("w")
            try await queue.end("a", "completed", ["result": "42"])
            for _ in 0..<2 {
                let pairs = try await queue.call("pull", "worker", "w").array?.first?.pairs
                #expect(pairs?["task"]?.string == "b")
                #expect(pairs?["dependency_results"]?.string == #"{"a":"42"}"#)
            }
        }
    }

    @Test func aCycleIsRefusedAndNamed() async throws {
        try await TestQueue.run { queue in
            do {
                try await queue.submit([
                    ("x", ["depends_on": "a"]), ("a", ["depends_on": "b"]), ("b", ["depends_on": "c"]),
                    ("c", ["depends_on": "a"]),
                ])
                Issue.record("it was taken")
            } catch let error as RedisError {
                #expect(error.code == "BADREQUEST")
                #expect(error.message.contains("a → b → c → a"))
            }
            try await expectRefusal("BADREQUEST") { try await queue.submit("s", ["depends_on": "s"]) }
            try await expectRefusal("BADREQUEST") { try await queue.submit("t", ["depends_on": "unknown"]) }
            #expect(try await queue.snapshot().taskIDs.isEmpty)
        }
    }

    @Test(arguments: [Ending.failed, .cancelled])
    func theFailureOfOneCancelsItsDependentsWithAReason(ending: Ending) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([
                ("a", [:]), ("b", ["depends_on": "a"]), ("c", ["depends_on": "b"]),
                ("d", ["depends_on": "a", "run_anyway": "1"]), ("other", [:]), ("e", ["depends_on": "other,b"]),
            ])
            try await queue.take("w")
            try await ending.happen(to: "a", of: "w", in: queue)
            for id in ["b", "c", "e"] { #expect(try await queue.state(id) == "cancelled") }
            let reason = try await queue.field("error_message", of: "c") ?? ""
            #expect(reason.contains("b is cancelled"), "\(reason)")
            #expect(try await queue.take("w", max: 4) == ["d", "other"])
        }
    }

    @Test(arguments: [Ending.retried, .workerLost, .released])
    func anAttemptThatIsRetriedSettlesNothing(ending: Ending) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([("a", [:]), ("b", ["depends_on": "a"])])
            try await queue.pull("w", start: ending != .released)
            try await ending.happen(to: "a", of: "w", in: queue)
            try await queue.register("w", slots: 4)
            #expect(try await queue.field("held_by", of: "b") == "dependencies")
            #expect(try await queue.runAll("w") == ["a", "b"])
        }
    }

    @Test func whatDependsOnATaskThatIsCancelledAtOnceIsCancelledToo() async throws {
        try await TestQueue.run { queue in
            try await queue.put("failed", in: .failed)
            try await queue.submit([
                ("third", ["depends_on": "second"]), ("second", ["depends_on": "first"]),
                ("first", ["depends_on": "failed"]), ("anyway", ["depends_on": "first", "run_anyway": "1"]),
            ])
            for id in ["first", "second", "third"] { #expect(try await queue.state(id) == "cancelled") }
            #expect(try await queue.take(TestQueue.holder) == ["anyway"])
        }
    }

    @Test func aRetriedDependentWaitsForAllThatHaveNotEnded() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([("a", [:]), ("b", [:]), ("c", [:]), ("d", ["depends_on": "a,b,c"])])
            try await queue.take("w", max: 3)
            try await queue.end("a", "failed", ["retryable": "0"])
            #expect(try await queue.state("d") == "cancelled")
            // A failed dependency must be retried with its dependent, or the call is refused.
            #expect(try await queue.outcomes("retry", ["d"]) == ["INVALIDSTATE"])
            #expect(try await queue.outcomes("retry", ["d", "a"]) == ["pending", "pending"])
            #expect(try await queue.field("deps_left", of: "d") == "3")
            try await queue.end("b")
            #expect(try await queue.take("w", max: 4) == ["a"])
            try await queue.end("a")
            #expect(try await queue.take("w", max: 4).isEmpty)
            try await queue.end("c")
            #expect(try await queue.take("w", max: 4) == ["d"])
        }
    }

    /// A task is cancelled and retried before the ticks have told it of the end of its dependency: that end is not
    /// counted again.
    @Test func aRetriedDependentHearsOfNoEndTwice() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([("a", [:]), ("b", ["priority": "low"])])
            try await queue.submit((0..<60).map { ("a\($0)", ["depends_on": "a"]) } + [("t", ["depends_on": "a,b"])])
            try await queue.take("w")
            try await queue.end("a")
            #expect(try await !queue.raw("ZSCORE", "{}dependents:a", "t").isNull)
            try await queue.call("cancel", "task", "t")
            #expect(try await queue.outcomes("retry", ["t"]) == ["pending"])
            try await queue.snapshot()
            try await queue.tickUntilDone()
            #expect(try await queue.fields(of: "t")["held_by"] == "dependencies")
            #expect(try await queue.runAll("w").suffix(2) == ["b", "t"])
        }
    }

    @Test func fiveThousandDependentsAreSettledOverTheTicks() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 10_000]) { queue in
            try await queue.register("w")
            try await queue.submit("root")
            for part in 0..<5 {
                try await queue.submit((0..<1000).map { ("d\(part)-\($0)", ["depends_on": "root"]) })
            }
            try await queue.take("w")
            try await queue.end("root")
            func inLine() async throws -> Int64 { try await queue.raw("ZCARD", "{}pending").int ?? -1 }
            #expect(try await inLine() == 25)
            // Some dependents have not been told of its end yet: it cannot be purged until they have.
            let answer = try await queue.call("purge", "task", "root").array?.first
            #expect(answer?.error?.code == "INVALIDSTATE")
            #expect(try await queue.tickUntilDone() <= 51)
            #expect(try await inLine() == 5000)
            #expect(try await queue.call("purge", "task", "root").array?.first?.string == "purged")
            try await queue.purgeAll()
        }
    }

    @Test func aTickOfOneTaskGetsOnToo() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await queue.submit([("root", [:])] + (0..<30).map { ("d\($0)", ["depends_on": "root"]) })
            try await queue.take("w")
            try await queue.end("root", "failed", ["retryable": "0"])
            #expect(try await queue.stats().cancelled == 25)
            for _ in 0..<10 where try await !queue.tick(limit: 1).more { break }
            #expect(try await queue.stats().cancelled == 30)
        }
    }

    @Test func aTaskThatEndsAgainBeforeItsDependentsHaveHeardOfItCountsOnce() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 2)
            try await queue.submit(
                [("root", [:]), ("other", [:])]
                    + (0..<60).map { ("d\($0)", ["depends_on": "root,other", "run_anyway": "1"]) })
            #expect(try await queue.take("w", max: 2) == ["root", "other"])
            try await queue.end("root", "failed", ["retryable": "0"])
            try await queue.call("retry", "task", "root")
            #expect(try await queue.take("w") == ["root"])
            try await queue.end("root", "failed", ["retryable": "0"])
            #expect(try await queue.tickUntilDone() < 10)
            let snapshot = try await queue.snapshot()
            for n in 0..<60 { #expect(snapshot.task("d\(n)")["deps_left"] == "1") }
            #expect(try await queue.take("w") == [])
            try await queue.end("other")
            #expect(try await queue.tickUntilDone() < 10)
            #expect(try await queue.raw("ZCARD", "{}pending").int == 60)
        }
    }

    @Test func aDependencyThatIsAnEqualTaskIsWaitedForUnderItsOwnName() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit("first", ["unique_key": "build"])
            let ids = try await queue.submit([
                ("again", ["unique_key": "build"]), ("test", ["depends_on": "again"]),
            ])
            #expect(ids == ["first", "test"])
            #expect(try await queue.take("w", max: 4) == ["first"])
            try await queue.end("first")
            #expect(try await queue.take("w", max: 4) == ["test"])
        }
    }

    @Test func aDependentWithATimeWaitsForBoth() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([("a", [:]), ("b", ["depends_on": "a", "delay_ms": "60000"])])
            #expect(try await queue.runAll("w") == ["a"])
            #expect(try await queue.field("held_by", of: "b") == "schedule")
            try await queue.age(by: .seconds(61))
            try await queue.register("w", slots: 4)
            try await queue.tick()
            #expect(try await queue.runAll("w") == ["b"])
        }
    }

    @Test(arguments: [true, false])
    func aReportThatAlsoPullsLetsTheDependentRun(isThereBefore: Bool) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit([("first", [:]), ("other", [:])])
            if isThereBefore { try await queue.submit([("dependent", ["depends_on": "first"])]) }
            #expect(try await queue.take("w") == ["first"])
            if !isThereBefore { try await queue.submit([("dependent", ["depends_on": "first"])]) }
            let reply = try await queue.call(
                "finish", "worker", "w", "pull", "1", "start", "1", "task", "first", "attempt", "1", "outcome",
                "completed")
            #expect(reply[1]?.assignments.map(\.id) == ["other"])
            #expect(try await queue.take("w") == ["dependent"])
        }
    }
}
