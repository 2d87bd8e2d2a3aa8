import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A queue with every kind of task, on which version 4 of the function library has worked, continues under the present
/// version: no attempt, limit, dependency or position is lost.
@Suite("Upgrade of a queue of version 4")
struct UpgradeTests {
    /// The second dump has aging; it is not paused, and no worker sleeps in it.
    static let dumps = [QueueDump("queue-of-version-4"), QueueDump("queue-of-version-4-aging")]

    /// Fields that describe the position of a task: their values may differ in another version.
    static let bookkeeping: Set = [
        "place", "tag", "state", "held_by", "due_at", "deps_left", "uses", "lane", "rate_granted", "broken",
    ]

    /// The present library takes the queue over, and finishes the steps that were under way.
    private func run(_ dump: QueueDump, _ body: (TestQueue) async throws -> Void) async throws {
        try await TestQueue.run { queue in
            try await dump.load(into: queue)
            try await queue.tickUntilDone()
            try await queue.snapshot()
            try await body(queue)
        }
    }

    @Test(arguments: dumps) func everyTaskIsThereAsItWas(dump: QueueDump) async throws {
        #expect(dump.taskIDs.count > 200)
        try await run(dump) { queue in
            let snapshot = try await queue.snapshot()
            for id in dump.taskIDs where !dump.isHidden(id) {
                let before = dump.task(id)
                let after = snapshot.task(id)
                if dump.isDoomed(id) {
                    #expect(after["state"] == "cancelled", "\(id)")
                    continue
                }
                let isLost = before["worker"] == "dead"
                #expect(after["state"] == (isLost ? "pending" : before["state"]), "\(id)")
                for (name, value) in before where !Self.bookkeeping.contains(name) && !isLost {
                    // Times differ.
                    if value.contains("<") { continue }
                    #expect(after[name] == value, "\(id) \(name)")
                }
                #expect(after["submitted_at"] != nil, "\(id)")
            }
            #expect(snapshot.task("of-the-dead")["attempt:1"]?.contains("lost") == true)
            #expect(snapshot.contents["log:running"] != nil)
            #expect(snapshot.ids("schedule:") == ["due", "fired", "hourly"])
        }
    }

    @Test(arguments: dumps) func liveAttemptsGoOnUnderTheirNumbers(dump: QueueDump) async throws {
        try await run(dump) { queue in
            // A report on an attempt that is over is refused, and changes nothing.
            #expect(try await queue.finish("w1", "third-attempt", attempt: 2, "completed").error?.code == "LEASELOST")
            #expect(
                try await queue.call("log", "worker", "w1", "task", "running", "attempt", "1", "stdout", "more").int
                    == 1)
            for worker in ["w1", "gpu-1", "arm-1", "drains"] {
                let attempts = dump.attempts(of: worker)
                var arguments: [RedisArgument] = ["worker", .string(worker)]
                for (id, attempt) in attempts {
                    arguments += ["task", .string(id), "attempt", .integer(Int64(attempt))]
                }
                let orders = try await queue.call("heartbeat", arguments).pairs
                let isCancelled = attempts.contains { $0.id == "cancel-live" }
                #expect(orders["stop"]?.array?.compactMap(\.string).first == (isCancelled ? "cancel-live" : nil))
                #expect(orders["drain"]?.int == (worker == "drains" ? 1 : 0))
                for (id, attempt) in attempts where id != "cancel-live" {
                    if dump.task(id)["state"] == "assigned" {
                        try await queue.call(
                            "start", "worker", .string(worker), "task", .string(id), "attempt",
                            .integer(Int64(attempt)))
                    }
                    for _ in 1...2 {
                        let reply = try await queue.finish(worker, id, attempt: attempt, "completed")
                        #expect(reply.string == "completed", "\(id): \(reply)")
                    }
                }
            }
        }
    }

    @Test(arguments: dumps) func plainTasksKeepTheirOrder(dump: QueueDump) async throws {
        try await run(dump) { queue in
            try await queue.call("configure", "paused", "0")
            try await queue.register("plain", slots: 1000)
            var pulled: [String] = []
            while case let ids = try await queue.take("plain", max: 100), !ids.isEmpty { pulled += ids }
            let names: Set = ["concurrency_key", "rate_key", "affinity_key", "group_key"]
            let plain = dump.order("pending").filter { id in
                names.isDisjoint(with: dump.task(id).keys) && !dump.isDoomed(id)
            }
            #expect(plain.count > 20)
            #expect(pulled.filter(Set(plain).contains) == plain)
            try await queue.end("critical-1")
            // Later tasks come after them.
            try await queue.submit([("new-1", [:]), ("new-2", [:])])
            #expect(try await queue.take("plain", max: 100).filter { $0.hasPrefix("new") } == ["new-1", "new-2"])
        }
    }

    @Test(arguments: dumps) func concurrencyLimitsHold(dump: QueueDump) async throws {
        try await run(dump) { queue in
            try await queue.call("configure", "paused", "0")
            try await queue.register("plain", slots: 1000)
            try await queue.register("gpu", slots: 1000, ["labels": "gpu", "cpu": "100", "memory_mb": "4096"])
            var pulled: [String] = []
            func pull() async throws -> [String] {
                var new: [String] = []
                for worker in ["gpu", "plain"] {
                    while case let ids = try await queue.take(worker, max: 100), !ids.isEmpty { new += ids }
                }
                pulled += new
                return new.filter { $0.hasPrefix("deploy") || $0.hasPrefix("pair") }
            }
            #expect(try await pull() == [])
            var order: [String] = []
            for _ in 1...4 {
                try await queue.end(order.last ?? "deploy-1")
                let next = try await pull()
                #expect(next.count == 1, "\(next)")
                order += next
            }
            #expect(order == ["deploy-2", "deploy-3", "deploy-cpu", "deploy-last"])
            for (ended, next) in [("pair-1", "pair-3"), ("pair-2", "pair-last")] {
                try await queue.end(ended)
                #expect(try await pull() == [next])
            }
            #expect(Set(pulled).count == pulled.count)
        }
    }

    @Test(arguments: dumps) func rateLimitsHold(dump: QueueDump) async throws {
        try await run(dump) { queue in
            try await queue.call("configure", "paused", "0")
            try await queue.register("plain", slots: 1000)
            var started: [[String]] = []
            // slow-1 started at 0 s, before the dump. One may start every 10 s.
            for _ in 1...5 {
                try await queue.tickUntilDone()
                var pulled: [String] = []
                while case let ids = try await queue.take("plain", max: 100), !ids.isEmpty { pulled += ids }
                started.append(pulled.filter { $0.hasPrefix("slow") })
                try await queue.age(by: .seconds(10))
                try await queue.call("heartbeat", "worker", "plain")
            }
            #expect(started[0] == [])
            #expect(started.allSatisfy { $0.count <= 1 }, "\(started)")
            #expect(started.flatMap { $0 } == ["slow-2", "slow-last"], "\(started)")
        }
    }

    @Test(arguments: dumps) func uniqueKeysHold(dump: QueueDump) async throws {
        try await run(dump) { queue in
            for key in ["u-running", "u-pending", "u-done"] {
                let ids = try await queue.submit([("equal-" + key, ["unique_key": key])])
                #expect(ids == ["unique-" + key.dropFirst(2)])
            }
            #expect(try await queue.submit([("equal-over", ["unique_key": "u-over"])]) == ["equal-over"])
            try await queue.end("unique-running")
            #expect(try await queue.submit([("another", ["unique_key": "u-running"])]) == ["another"])
        }
    }

    @Test(arguments: dumps) func batchesGoOnWhereTheyWere(dump: QueueDump) async throws {
        try await run(dump) { queue in
            func batch(_ id: String) async throws -> [String: RESPValue] {
                try await queue.call("batch", "batch", .string(id)).pairs
            }
            let opened = try await batch("b-open")
            #expect(opened["total"]?.int == opened["pending"]?.int)
            let cancelled = try await batch("b-cancel")
            #expect(cancelled["total"]?.int == cancelled["cancelled"]?.int && cancelled["finished_at"] != nil)
            let mixed = try await batch("b-mixed")
            #expect(["completed", "running", "pending"].map { mixed[$0]?.int } == [1, 1, 2])
            #expect(try await batch("b-done")["follow_up"]?.string == "b-done-after")
        }
    }

    /// No reply was sent for its submission: it may be deleted as a whole, or be opened as a whole.
    @Test(arguments: dumps) func aStagedBatchIsGoneOrThereAsAWhole(dump: QueueDump) async throws {
        try await run(dump) { queue in
            #expect(try await queue.call("get", "task", "staged-1").array == [.null])
            let refused = try await refusal { try await queue.call("open_batch", "batch", "b-staged") }
            try await queue.tickUntilDone()
            if refused == "TASKNOTFOUND" {
                for id in dump.taskIDs where dump.isHidden(id) { #expect(try await queue.state(id) == nil, "\(id)") }
                return
            }
            #expect(refused == nil)
            #expect(try await queue.call("batch", "batch", "b-staged").pairs["total"]?.int == 8)
            for id in dump.taskIDs where dump.isHidden(id) {
                #expect(try await queue.state(id) == (id == "staged-4" ? "cancelled" : "pending"), "\(id)")
            }
            let reasons = try await queue.reasons("staged-2").map { $0["code"] }
            #expect(reasons.contains("dependencies"), "\(reasons)")
        }
    }

    @Test(arguments: dumps) func anAbandonedBatchLeavesNothing(dump: QueueDump) async throws {
        try await run(dump) { queue in
            try await queue.call("abandon_batch", "batch", "b-staged")
            #expect(try await queue.submit([("staged-6", ["unique_key": "u-staged"])]) == ["staged-6"])
            // `staged-3` was among the dependents of a task.
            try await queue.submit([("staged-3", ["depends_on": "dep-a,dep-b"])])
            try await queue.end("dep-b")
            #expect(try await queue.field("held_by", of: "staged-3") == "dependencies")
            let found = try await queue.snapshot().contents.keys.filter { name in
                name.hasPrefix("stage") || name.hasSuffix(":b-staged") || name == "claims"
            }
            #expect(found == [])
        }
    }

    @Test func whoSleepsIsWoken() async throws {
        try await run(Self.dumps[0]) { queue in
            let sleepers = ["woken", "idle-1", "idle-2", "idle-mac", "idle-gpu"]
            try await queue.call("configure", "paused", "0")
            try await queue.tickUntilDone()
            for worker in sleepers {
                #expect(try await queue.raw("LLEN", "{}wake:" + worker).int == 1, "\(worker)")
                #expect(try await queue.take(worker).count == 1, "\(worker)")
            }
        }
    }

    @Test func aTenantGoesOnBehindItsTasks() async throws {
        try await TestQueue.run { queue in
            try await Self.dumps[0].load(into: queue)
            let finish = Double(try await queue.raw("HGET", "{}fair:critical", "f:tenant-c").string ?? "") ?? 0
            try await queue.tickUntilDone()
            try await queue.submit("new", priority: .critical, ["fairness_key": "tenant-c"])
            let tag = Double(try await queue.field("tag", of: "new") ?? "") ?? 0
            #expect(finish > 0 && tag >= finish)
        }
    }
}
