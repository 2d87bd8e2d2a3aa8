import RedisClient
import SwitchyardTesting
import Testing

@Suite("Staged batches")
struct StagingTests {
    private let followUp = #"["task","after","priority","high"]"#

    private func stage(
        _ queue: TestQueue, _ tasks: [(id: String, options: [String: String])], batch: String = "B"
    ) async throws {
        try await queue.submit(tasks, call: ["batch": batch, "stage": "1", "on_complete": followUp])
    }

    /// Opens a staged batch, and adds all its tasks to the queue.
    private func open(_ queue: TestQueue, batch: String = "B") async throws {
        for _ in 0..<20 where try await queue.call("open_batch", "batch", .string(batch)).int ?? 0 == 0 { break }
        try await queue.tickUntilDone()
    }

    private func batch(_ queue: TestQueue, _ id: String = "B") async throws -> [String: RESPValue] {
        try await queue.call("batch", "batch", .string(id)).pairs
    }

    private func states(_ queue: TestQueue, _ ids: [String]) async throws -> [String?] {
        let reply = try await queue.call("get", ids.flatMap { ["task", .string($0)] })
        return (reply.array ?? []).map { $0.pairs["state"]?.string }
    }

    // MARK: What happens between a part and the opening

    @Test(arguments: [Ending.failed, .cancelled, .timeout], [2, 5, 60])
    func aDependencyThatFailsBeforeTheOpeningCancelsItsWholeChain(ending: Ending, length: Int) async throws {
        try await TestQueue.run(settings: ["default_max_retries": 0]) { queue in
            try await queue.register("w", slots: 3)
            try await queue.submit("x", maxRetries: 0)
            let chain = (1...length).map { ("t\($0)", ["depends_on": $0 == 1 ? "x" : "t\($0 - 1)"]) }
            // The rest of the chain is submitted in another part.
            try await stage(queue, Array(chain.prefix(1)) + [("free", [:])])
            try await stage(queue, chain.dropFirst() + [("anyway", ["depends_on": "t1", "run_anyway": "1"])])
            #expect(try await queue.take("w", max: 3) == ["x"])
            try await ending.happen(to: "x", of: "w", in: queue)
            try await open(queue)
            #expect(try await states(queue, chain.map(\.0)) == chain.map { _ in "cancelled" })
            #expect(try await batch(queue)["cancelled"]?.int == Int64(length))
            #expect(try await queue.runAll("w", holding: 3).sorted() == ["after", "anyway", "free"])
            #expect(try await batch(queue)["finished_at"] != nil)
        }
    }

    @Test(arguments: [1, 3, 150])
    func aBatchOfNothingButDuplicatesHasEndedWhenItIsOpened(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 5)
            let keys = ["k0", "k1", "k2"]
            for key in keys { try await queue.submit("holds-" + key, ["unique_key": key]) }
            #expect(try await queue.take("w") == ["holds-k0"])
            let duplicates = (0..<count).map { ("d\($0)", ["unique_key": keys[$0 % 3]]) }
            try await stage(queue, Array(duplicates.prefix(1)))
            if count > 1 { try await stage(queue, Array(duplicates.dropFirst())) }
            try await open(queue)
            let counts = try await batch(queue)
            #expect(counts["total"]?.int == 0)
            #expect(counts["finished_at"] != nil)
            #expect(try await queue.take("w", max: 4) == ["after", "holds-k1", "holds-k2"])
        }
    }

    @Test func aBatchWhoseOnlyNewTasksEndHasEndedTooAmongDuplicates() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 5)
            try await queue.put("failed", in: .failed)
            try await queue.submit("holds", ["unique_key": "k"])
            // One part has only duplicates, the other only a task that cannot run.
            try await stage(queue, [("d0", ["unique_key": "k"]), ("d1", ["unique_key": "k"])])
            try await stage(queue, [("broken", ["depends_on": "failed"])])
            try await stage(queue, [("d2", ["unique_key": "k"])], batch: "C")
            try await open(queue)
            #expect(try await batch(queue)["finished_at"] != nil)
            #expect(try await queue.take("w", max: 4).contains("after"))
            try await queue.call("cancel", "task", "after")
            try await queue.call("purge", "task", "after")
            try await open(queue, batch: "C")
            #expect(try await batch(queue, "C")["finished_at"] != nil)
            #expect(try await states(queue, ["after"]) == ["pending"])
        }
    }

    // MARK: A namespace that no look-up sees

    @Test(arguments: [1, 3])
    func nothingDependsOnATaskThatIsOnlyStaged(parts: Int) async throws {
        try await TestQueue.run { queue in
            for part in 0..<parts { try await stage(queue, [("s\(part)", [:]), ("other\(part)", [:])]) }
            for part in 0..<parts {
                try await expectRefusal("BADREQUEST") { try await queue.submit("x", ["depends_on": "s\(part)"]) }
                try await expectRefusal("BADREQUEST") {
                    try await queue.submit([("y", [:]), ("x", ["depends_on": "y,s\(part)", "run_anyway": "1"])])
                }
            }
            try await open(queue)
            try await queue.submit("x", ["depends_on": "s0"])
            try await queue.register("w", slots: 10)
            #expect(try await queue.runAll("w").count == 2 * parts + 2)
        }
    }

    @Test(arguments: ["abandon_batch", "open_batch"])
    func aSubmissionThatNeedsAKeyOfAStageIsTakenAndTheStageIsNot(end: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 10)
            try await stage(queue, [("s0", [:]), ("s1", ["unique_key": "k"])])
            try await stage(queue, [("s2", ["unique_key": "k2"]), ("s3", ["depends_on": "s0"])])
            let reply = try await queue.call("submit", "task", "mine", "unique_key", "k2")
            #expect(reply[0]?[0]?.string == "mine")
            #expect(reply[0]?[4]?.string == "new")
            if end == "open_batch" {
                try await expectRefusal("TASKEXISTS") { try await queue.call("open_batch", "batch", "B") }
            } else {
                while try await queue.call("abandon_batch", "batch", "B").int ?? 0 > 0 {}
            }
            try await queue.tickUntilDone()
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("open_batch", "batch", "B") }
            #expect(try await queue.submit([("again", ["unique_key": "k2"])]) == ["mine"])
            // The ids and the other key that the stage claimed are free.
            #expect(try await queue.submit([("s0", ["unique_key": "k"]), ("s1", [:])]) == ["s0", "s1"])
            #expect(try await queue.runAll("w") == ["mine", "s0", "s1"])
        }
    }

    @Test(arguments: ["s0", "s7", "s149"])
    func aSubmissionThatTakesAnIdOfAStageIsTakenAndTheStageIsNot(id: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 10)
            for part in 0..<3 { try await stage(queue, (0..<50).map { ("s\(part * 50 + $0)", [:]) }) }
            #expect(try await queue.submit([("first", [:]), (id, ["payload": "mine"])]) == ["first", id])
            try await expectRefusal("TASKEXISTS") { try await queue.call("open_batch", "batch", "B") }
            try await queue.tickUntilDone()
            let pulled = try await queue.call("pull", "worker", "w", "max", "10", "start", "1")
            #expect(pulled.assignments.map(\.id) == ["first", id])
            #expect(pulled[1]?.pairs["payload"]?.string == "mine")
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("open_batch", "batch", "B") }
            // The same batch is staged and opened again, with other ids.
            try await stage(queue, [("n0", [:]), ("n1", [:])])
            try await open(queue)
            #expect(try await batch(queue)["total"]?.int == 2)
            #expect(try await queue.take("w", max: 8) == ["n0", "n1"])
        }
    }

    @Test func aStageTakesNoRoomUntilItIsOpened() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 4]) { queue in
            try await queue.register("w", slots: 10)
            try await stage(queue, (0..<3).map { ("s\($0)", [:]) })
            try await queue.submit([("a", [:]), ("b", [:]), ("c", [:]), ("d", [:])])
            #expect(try await queue.stats().pending == 4)
            try await expectRefusal("QUEUEFULL") { try await queue.call("open_batch", "batch", "B") }
            #expect(try await states(queue, ["s0", "s1", "s2"]) == [nil, nil, nil])
            #expect(try await queue.take("w", max: 3) == ["a", "b", "c"])
            try await open(queue)
            #expect(try await queue.take("w", max: 7) == ["d", "s0", "s1", "s2"])
        }
    }

    @Test(arguments: [1, 40, 300])
    func purgingAQueueDeletesWhatIsStaged(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.submit("x")
            try await stage(queue, (0..<count).map { ("s\($0)", ["unique_key": "k\($0)", "depends_on": "x"]) })
            try await queue.purgeAll()
            try await queue.tickUntilDone()
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("open_batch", "batch", "B") }
            let again = (0..<count).map { ("s\($0)", ["unique_key": "k\(count - 1 - $0)"]) }
            #expect(try await queue.submit(again) == again.map(\.0))
            #expect(try await queue.stats().pending == count)
        }
    }

    @Test(arguments: [false, true], [2, 5, 60])
    func aDependencyThatIsGoneAtTheOpeningCancelsItsWholeChain(isInParts: Bool, length: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.submit("x")
            let chain = (1...length).map { ("t\($0)", ["depends_on": $0 == 1 ? "x" : "t\($0 - 1)"]) }
            if isInParts {
                try await stage(queue, Array(chain.prefix(1)))
                try await stage(queue, Array(chain.dropFirst()))
            } else {
                try await stage(queue, chain)
            }
            try await queue.call("cancel", "task", "x")
            try await queue.call("purge", "task", "x")
            try await open(queue)
            #expect(try await states(queue, chain.map(\.0)) == chain.map { _ in "cancelled" })
            try await queue.snapshot()
        }
    }

    @Test(arguments: [false, true])
    func aDependencyThatIsGoneAtTheOpeningIsOneThatDidNotSucceed(isPurged: Bool) async throws {
        try await TestQueue.run { queue in
            try await queue.submit("x")
            try await stage(queue, [("t", ["depends_on": "x"]), ("anyway", ["depends_on": "x", "run_anyway": "1"])])
            try await queue.call("cancel", "task", "x")
            if isPurged { try await queue.call("purge", "task", "x") }
            try await open(queue)
            #expect(try await states(queue, ["t", "anyway"]) == ["cancelled", "pending"])
        }
    }
}
