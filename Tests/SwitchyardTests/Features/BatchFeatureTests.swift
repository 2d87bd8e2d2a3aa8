import RedisClient
import SwitchyardTesting
import Testing

@Suite("Batches as a whole")
struct BatchFeatureTests {
    private let followUp = #"["task","after","priority","high","payload","all done"]"#

    private func counts(_ queue: TestQueue, _ batch: String) async throws -> [String: Int64] {
        try await queue.call("batch", "batch", .string(batch)).pairs.compactMapValues(\.int)
    }

    @Test(arguments: [Ending.completed, .failed, .cancelled, .timeout])
    func theFollowUpComesOnceWhenTheLastTaskHasEnded(ending: Ending) async throws {
        try await TestQueue.run(settings: ["default_max_retries": 0]) { queue in
            try await queue.register("w", slots: 3)
            let tasks = ["a", "b"].map { ($0, ["max_retries": "0"]) }
            try await queue.submit(tasks, call: ["batch": "B", "on_complete": followUp])
            #expect(try await queue.take("w") == ["a"])
            try await queue.end("a")
            #expect(try await queue.state("after") == nil)
            #expect(try await queue.take("w") == ["b"])
            try await ending.happen(to: "b", of: "w", in: queue)
            #expect(try await queue.take("w", max: 3) == ["after"])
            #expect(try await queue.field("follow_up", of: "after") == nil)
            if ending != .completed {
                // The task runs again and ends again: the follow-up already exists.
                try await queue.end("after")
                try await queue.call("retry", "task", "b")
                #expect(try await queue.call("batch", "batch", "B").pairs["finished_at"] == nil)
                #expect(try await queue.runAll("w") == ["b"])
                #expect(try await counts(queue, "B")["completed"] == 2)
            }
        }
    }

    @Test func anAttemptThatIsLostOrRetriedDoesNotEndABatch() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            try await queue.register("w")
            try await queue.submit([("a", [:])], call: ["batch": "B", "on_complete": followUp])
            try await queue.take("w")
            try await queue.end("a", "failed")
            try await queue.take("w")
            try await queue.expireLease(of: "a")
            try await queue.tick()
            #expect(try await queue.state("after") == nil)
            #expect(try await queue.runAll("w") == ["a", "after"])
        }
    }

    @Test func isCancelledAsOneOverTheTicks() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2000]) { queue in
            try await queue.register("w", slots: 3, ["cpu": "3"])
            try await queue.submit(
                (0..<600).map { ("t\($0)", ["cpu": "1", "concurrency_key": "k", "concurrency_limit": "2"]) },
                call: ["batch": "B", "on_complete": followUp])
            try await queue.take("w", max: 3)
            try await queue.call("cancel_batch", "batch", "B")
            #expect(try await counts(queue, "B")["cancelled"] == 25)
            #expect(try await queue.tickUntilDone() <= 8)
            #expect(try await counts(queue, "B")["cancelled"] == 600)
            #expect(try await queue.take("w", max: 3) == ["after"])
            #expect(try await queue.snapshot().set("running:k").isEmpty)
        }
    }

    @Test func aStagedBatchIsSeenByNobodyUntilItIsOpened() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.register("w", slots: 3)
            try await queue.put("failed", in: .failed)
            try await queue.submit(
                [("root", [:]), ("broken", ["depends_on": "failed"]), ("delayed", ["delay_ms": "60000"])],
                call: ["batch": "B", "stage": "1", "on_complete": followUp])
            try await queue.submit(
                (0..<300).map { ("t\($0)", ["depends_on": "root"]) }, call: ["batch": "B", "stage": "1"])
            #expect(try await queue.take("w", max: 3).isEmpty)
            for id in ["root", "broken", "t7"] {
                #expect(try await queue.call("get", "task", .string(id)).array?.first == .null)
                #expect(try await queue.call("cancel", "task", .string(id)).array?.first?.error?.code == "TASKNOTFOUND")
                try await expectRefusal("TASKNOTFOUND") { try await queue.call("explain", "task", .string(id)) }
            }
            try await queue.snapshot()
            #expect(try await queue.call("open_batch", "batch", "B").int == 203)
            try await queue.snapshot()
            try await queue.tickUntilDone()
            #expect(try await queue.state("broken") == "cancelled")
            #expect(try await queue.field("held_by", of: "delayed") == "schedule")
            #expect(try await queue.take("w", max: 3) == ["root"])
            try await queue.end("root")
            try await queue.tickUntilDone()
            #expect(try await queue.raw("ZCARD", "{}pending").int == 300)
            // The reply was lost: a second call does not open the batch again.
            #expect(try await queue.call("open_batch", "batch", "B").int == 0)
            #expect(try await queue.raw("LLEN", "{}batch_work").int == 0)
        }
    }

    @Test(arguments: ["forgotten", "abandoned"])
    func aStagedBatchThatIsNeverOpenedIsDroppedWithItsKeys(how: String) async throws {
        try await TestQueue.run { queue in
            try await queue.put("failed", in: .failed)
            try await queue.submit(
                (0..<150).map { ("t\($0)", ["unique_key": "k\($0)"]) } + [("broken", ["depends_on": "failed"])],
                call: ["batch": "B", "stage": "1"])
            try await queue.tick(cleanup: true)
            #expect(try await queue.raw("LLEN", "{}stage_members:B").int == 151)
            if how == "forgotten" {
                try await queue.age(by: .seconds(29))
                try await queue.tickUntilDone()
                #expect(try await queue.raw("LLEN", "{}stage_members:B").int == 151)
                try await queue.age(by: .seconds(2))
            } else {
                #expect(try await queue.call("abandon_batch", "batch", "B").int == 100)
                try await queue.snapshot()
                // The rest of the stage cannot be opened, and takes no further parts.
                try await expectRefusal("TASKNOTFOUND") { try await queue.call("open_batch", "batch", "B") }
                try await expectRefusal("TASKNOTFOUND") {
                    try await queue.submit([("t0", [:])], call: ["batch": "B", "stage": "1"])
                }
                #expect(try await queue.call("abandon_batch", "batch", "B").int == 51)
                #expect(try await queue.call("abandon_batch", "batch", "B").int == 0)
            }
            // This needs no clean-up.
            try await queue.tickUntilDone()
            let snapshot = try await queue.snapshot()
            #expect(snapshot.taskIDs == ["failed"])
            #expect(snapshot.ids("unique:").isEmpty)
            #expect(snapshot.ids("batch:").isEmpty)
            #expect(snapshot.contents["claims"] == nil)
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("open_batch", "batch", "B") }
        }
    }

    /// Whatever stage the batch has reached, repeated parts are recognised, and nothing is done twice. The queue has
    /// room for the batch only once.
    @Test func aPartThatComesAgainChangesNothing() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 150]) { queue in
            try await queue.register("w", slots: 3)
            func stage(_ part: Int) async throws -> Set<String> {
                let tasks = (0..<50).map { ("t\(part)-\($0)", ["request": "r\(part)-\($0)"]) }
                let arguments = tasks.flatMap { id, options in
                    ["task", .string(id)] + options.flatMap { [.string($0.key), .string($0.value)] as [RedisArgument] }
                }
                let reply = try await queue.call("submit", ["batch", "B", "stage", "s"] + arguments)
                return Set((reply.array ?? []).map { "\($0[1]?.string ?? "") \($0[4]?.string ?? "")" })
            }
            for part in [0, 1, 0, 2, 2] { #expect(try await stage(part) == ["pending new"]) }
            #expect(try await queue.call("open_batch", "batch", "B", "stage", "s", "limit", "70").int == 80)
            for part in 0..<3 { #expect(try await stage(part) == ["pending repeated"]) }
            try await queue.snapshot()
            #expect(try await queue.call("open_batch", "batch", "B", "stage", "s").int == 0)
            for part in 0..<3 { #expect(try await stage(part) == ["pending repeated"]) }
            #expect(try await queue.snapshot().sortedSet("pending").count == 150)
            try await expectRefusal("TASKEXISTS") {
                try await queue.submit([("other", [:])], call: ["batch": "B", "stage": "s"])
            }
        }
    }

    @Test func isCancelledWhileItIsBeingOpened() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2000]) { queue in
            try await queue.register("w", slots: 3)
            try await queue.submit(
                (0..<150).map { ("t\($0)", [:]) }, call: ["batch": "B", "stage": "1", "on_complete": followUp])
            #expect(try await queue.call("open_batch", "batch", "B", "limit", "30").int == 120)
            #expect(try await queue.take("w") == ["t0"])
            try await queue.end("t0")
            try await queue.call("cancel_batch", "batch", "B")
            try await queue.snapshot()
            try await queue.tickUntilDone()
            #expect(try await counts(queue, "B")["completed"] == 1)
            #expect(try await counts(queue, "B")["cancelled"] == 149)
            #expect(try await queue.take("w", max: 3) == ["after"])
        }
    }

    @Test func aBatchOfTasksThatAreAllThereHasEndedAtOnce() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 3)
            try await queue.submit("a", ["unique_key": "k"])
            try await queue.submit([("b", ["unique_key": "k"])], call: ["batch": "B", "on_complete": followUp])
            #expect(try await queue.take("w", max: 3) == ["after", "a"])
            #expect(try await queue.call("batch", "batch", "B").pairs["finished_at"] != nil)
        }
    }
}
