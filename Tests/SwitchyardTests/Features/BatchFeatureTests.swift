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
                // Run again, and ended again: the follow-up has been made already.
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
            #expect(try await queue.call("open_batch", "batch", "B").int == 303)
            try await queue.tickUntilDone()
            #expect(try await queue.state("broken") == "cancelled")
            #expect(try await queue.field("held_by", of: "delayed") == "schedule")
            #expect(try await queue.take("w", max: 3) == ["root"])
            try await queue.end("root")
            try await queue.tickUntilDone()
            #expect(try await queue.raw("ZCARD", "{}pending").int == 300)
            // Its reply was lost: opened again, it is not begun again.
            #expect(try await queue.call("open_batch", "batch", "B").int == 303)
            #expect(try await queue.raw("LLEN", "{}batch_work").int == 0)
        }
    }

    @Test(arguments: ["forgotten", "cancelled"])
    func aStagedBatchThatIsNeverOpenedIsDroppedWithItsKeys(how: String) async throws {
        try await TestQueue.run { queue in
            try await queue.put("failed", in: .failed)
            try await queue.submit(
                (0..<150).map { ("t\($0)", ["unique_key": "k\($0)"]) } + [("broken", ["depends_on": "failed"])],
                call: ["batch": "B", "stage": "1"])
            try await queue.tick(cleanup: true)
            #expect(try await queue.raw("ZCARD", "{}staged").int == 151)
            if how == "forgotten" {
                try await queue.age(by: .seconds(3601))
            } else {
                try await queue.call("cancel_batch", "batch", "B")
            }
            for _ in 0..<4 { try await queue.tick(cleanup: true) }
            let snapshot = try await queue.snapshot()
            #expect(snapshot.taskIDs == ["failed"])
            #expect(snapshot.ids("unique:").isEmpty)
            #expect(snapshot.ids("batch:").isEmpty)
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("open_batch", "batch", "B") }
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
