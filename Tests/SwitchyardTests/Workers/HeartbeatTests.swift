import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Heartbeats, cancelling and control")
struct HeartbeatTests {
    @Test func aHeartbeatRenewsWhatIsHeldAndListsWhatToStop() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            let worker = try await queue.worker("w", slots: 10)
            for id in ["runs", "cancelled", "timed-out", "assigned"] { try await queue.submit(id) }
            _ = try await worker.pull(max: 3, holding: 0)
            try await queue.pull("w")
            try await queue.handle.cancelTask("cancelled")
            try await queue.expireLease(of: "timed-out")
            try await queue.tick()
            let before = try await queue.snapshot()
            try await Task.sleep(for: .milliseconds(2))  // so that the renewed lease ends later
            let orders = try await worker.heartbeat([
                ("runs", 1, ByteBuffer(string: "50 %")), ("cancelled", 1, nil), ("timed-out", 1, nil),
                ("assigned", 1, nil), ("runs-not", 3, nil),
            ])
            #expect(orders.drain == false)
            #expect(orders.terms.lease == .seconds(15))
            #expect(orders.stop.map(\.taskID) == ["cancelled", "timed-out", "runs-not"])
            #expect(orders.stop.map(\.isCancelled) == [true, false, false])
            let after = try await queue.snapshot()
            let changed = after.changes(since: before).map { $0.prefix { $0 != ":" } }
            #expect(changed == ["leases runs", "task", "workers w"])
            #expect(after.task("runs")["progress"] == "50 %")
            #expect(after.sortedSet("leases")["assigned"] == before.sortedSet("leases")["assigned"])
        }
    }

    @Test func aHeartbeatNeverLengthensALeasePastTheTimeLimit() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w")
            try await queue.submit("t", ["timeout_ms": "20000"])
            _ = try await worker.pull(max: 1, holding: 0)
            try await queue.age(by: .seconds(10))
            _ = try await worker.heartbeat([("t", 1, nil)])
            let after = try await queue.snapshot()
            let started = try #require(after.task("t")["started_at"].flatMap(Double.init))
            #expect(after.sortedSet("leases")["t"] == started + 20_000)
        }
    }

    /// The field is skipped, and no lease ends for it.
    @Test(arguments: [0, 1, 2], [1025, 100_000])
    func progressThatIsTooLongCostsNoLease(position: Int, bytes: Int) async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 3)
            for n in 0..<3 { try await queue.submit("t\(n)") }
            _ = try await worker.pull(max: 3, holding: 0)
            _ = try await worker.heartbeat((0..<3).map { ("t\($0)", 1, ByteBuffer(string: "before")) })
            for _ in 0..<2 {
                try await Task.sleep(for: .milliseconds(2))  // so that the renewed leases end later
                let before = try await queue.snapshot()
                let orders = try await worker.heartbeat(
                    (0..<3).map { n in
                        let size = n == position ? bytes : 1024
                        return ("t\(n)", 1, ByteBuffer(repeating: UInt8(ascii: "x"), count: size))
                    })
                let reason = "progress of task t\(position): at most 1024 bytes, found \(bytes)"
                #expect(orders.ignored == [reason] && orders.stop.isEmpty)
                let after = try await queue.snapshot()
                for n in 0..<3 {
                    let (old, new) = (before.sortedSet("leases")["t\(n)"], after.sortedSet("leases")["t\(n)"])
                    #expect(try #require(new) > #require(old))
                    #expect(after.task("t\(n)")["progress"]?.count == (n == position ? 6 : 1024))
                }
            }
        }
    }

    @Test func cancellingTellsTheWorkerOfALiveAttempt() async throws {
        try await TestQueue.run { queue in
            let control = try await queue.redis.client.subscribe(to: [queue.keys.control(TestQueue.holder)])
            try await queue.put("waits", in: .heldBySchedule)
            try await queue.put("runs", in: .running)
            try await queue.handle.cancelTask("waits")
            let task = try await queue.handle.cancelTask("runs", reason: "superseded")
            #expect(task.state == .cancelled)
            #expect(task.failure == TaskFailure(code: "Cancelled", message: "superseded"))
            #expect(task.attempts.map(\.outcome) == ["cancelled"])
            // The first message is about the running task: no worker had to be told about the other.
            #expect(try await control.firstMessage() == "cancel runs 1")
            #expect(
                try await queue.finish(TestQueue.holder, "runs", attempt: 1, "completed").error?.code == "LEASELOST")
        }
    }

    @Test func oneCallCancelsManyAndEachIsAnsweredForItself() async throws {
        try await TestQueue.run { queue in
            for id in ["a", "b"] { try await queue.submit(id) }
            let reply = try await queue.call("cancel", "task", "a", "task", "nobody", "task", "b")
            #expect(reply[0]?.string == "cancelled")
            #expect(reply[1]?.error?.code == "TASKNOTFOUND")
            #expect(reply[2]?.string == "cancelled")
            #expect(try await queue.call("cancel", "task", "a")[0]?.error?.code == "INVALIDSTATE")
        }
    }

    @Test func aSilentWorkersHeartbeatIsAnsweredWithTheAdviceToRegister() async throws {
        try await TestQueue.run { queue in
            let worker = try queue.stranger("w")
            try await expectError("WorkerNotFound") { _ = try await worker.heartbeat([]) }
            try await expectError("WorkerNotFound") { _ = try await worker.pull(max: 1, holding: 0) }
            try await expectError("WorkerNotFound") { try await worker.deregister() }
            try await expectError("WorkerNotFound") { try await queue.handle.drainWorker("w") }
            #expect(try await queue.snapshot().ids("worker:") == [])
        }
    }

    @Test func outputIsKeptInOrderAndOnlyOfALiveAttempt() async throws {
        try await TestQueue.run(settings: ["log_max_entries": 1000]) { queue in
            let worker = try await queue.worker("w")
            try await queue.submit("t")
            _ = try await worker.pull(max: 1, holding: 0)
            let noise = ByteBuffer(bytes: [0, 255, 10])
            try await worker.log(taskID: "t", attempt: 1, [("stdout", ByteBuffer(string: "one")), ("stderr", noise)])
            try await worker.log(taskID: "t", attempt: 1, [("stdout", ByteBuffer(string: "two"))])
            let entries = try await queue.handle.readLog("t")
            #expect(entries.map(\.stream) == ["stdout", "stderr", "stdout"])
            #expect(entries.map(\.data) == [ByteBuffer(string: "one"), noise, ByteBuffer(string: "two")])
            #expect(entries.map(\.attempt) == [1, 1, 1])
            let rest = try await queue.handle.readLog("t", after: entries[1].id)
            #expect(rest == [entries[2]])
            try await expectError("InvalidStateTransition") {
                try await worker.log(taskID: "t", attempt: 2, [("stdout", noise)])
            }
        }
    }
}
