import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Attempts that were told to end, and whose processes are not gone yet: what they occupy stays taken.
@Suite struct EndingTests {
    /// How a running attempt is told to end.
    enum Cause: CaseIterable {
        case cancel, timeLimit, cancelOfBatch
    }

    /// How the ending is over.
    enum End: CaseIterable {
        case ended, lateReport, release, time, lostWorker, otherProcess, deregistration
    }

    private static let grace = 20_000

    private func register(_ queue: TestQueue, _ id: String, _ more: [RedisArgument] = []) async throws {
        try await queue.call("register", ["worker", .string(id), "nonce", "n1"] + more)
    }

    /// Starts task `id` on `worker`, and tells it to end.
    private func tellToEnd(_ queue: TestQueue, _ id: String, on worker: String, _ cause: Cause) async throws {
        let pulled = try await queue.call("pull", "worker", .string(worker), "max", "1", "start", "1")
        try #require(pulled.assignments.map(\.id) == [id])
        switch cause {
        case .cancel: try await queue.call("cancel", "task", .string(id))
        case .cancelOfBatch: try await queue.call("cancel_batch", "batch", .string("b-" + id))
        case .timeLimit:
            try await queue.age(by: .seconds(9))
            try await queue.call("heartbeat", "worker", .string(worker), "task", .string(id), "attempt", "1")
            for other in ["w1", "w2"] { try await queue.call("heartbeat", "worker", .string(other)) }
            try await queue.age(by: .seconds(9))
            _ = try await queue.tick()
        }
    }

    private func submit(
        _ queue: TestQueue, _ id: String, _ cause: Cause = .cancel, _ more: [RedisArgument] = []
    ) async throws {
        try await queue.call(
            "submit",
            (cause == .cancelOfBatch ? ["batch", .string("b-" + id)] : []) + [
                "task", .string(id), "max_retries", "0", "timeout_ms", cause == .timeLimit ? "17000" : "600000",
            ] + more)
    }

    private func pull(_ queue: TestQueue, _ worker: String) async throws -> [String] {
        let reply = try await queue.call("pull", "worker", .string(worker), "max", "9", "start", "1", "holding", "99")
        return reply.assignments.map(\.id)
    }

    private func end(_ queue: TestQueue, _ id: String, on worker: String, _ end: End) async throws {
        let report: [RedisArgument] = ["worker", .string(worker), "task", .string(id), "attempt", "1"]
        switch end {
        case .ended:
            let reply = try await queue.call("finish", report + ["outcome", "ended"])
            #expect(reply[0]?[0]?.string == "ended")
        case .lateReport:
            let reply = try await queue.call("finish", report + ["outcome", "completed"])
            #expect(reply[0]?[0]?.error?.code == "LEASELOST")
        case .release:
            let reply = try await queue.call("release", report + ["drain", "1"])
            #expect(reply[0]?.error?.code == "LEASELOST")
        case .time:
            // Until the grace and a lease are over, no tick ends it.
            for step in 1...4 {
                try await queue.age(by: .milliseconds((Self.grace + 15_000) / 5))
                for other in ["w1", "w2"] { try await queue.call("heartbeat", "worker", .string(other)) }
                _ = try await queue.tick()
                #expect(try await queue.raw("ZCARD", "{}ending").int == 1, "step \(step)")
            }
            try await queue.age(by: .milliseconds((Self.grace + 15_000) / 5 + 1000))
            for other in ["w1", "w2"] { try await queue.call("heartbeat", "worker", .string(other)) }
            _ = try await queue.tick()
        case .lostWorker:
            try await queue.missHeartbeats(of: worker)
            _ = try await queue.tick()
        case .otherProcess: try await queue.call("register", "worker", .string(worker), "nonce", "n2")
        case .deregistration: try await queue.call("deregister", "worker", .string(worker))
        }
    }

    @Test(arguments: Cause.allCases, End.allCases)
    func limitSlotAndResourcesStayTakenUntilTheProcessIsGone(cause: Cause, end: End) async throws {
        try await TestQueue.run { queue in
            for id in ["w1", "w2"] {
                try await register(
                    queue, id, ["slots", id == "w1" ? "1" : "3", "cpu", "4", "grace_ms", .integer(Int64(Self.grace))])
            }
            let limit: [RedisArgument] = ["concurrency_key", "k", "concurrency_limit", "1", "cpu", "4"]
            try await submit(queue, "first", cause, limit)
            try await tellToEnd(queue, "first", on: "w1", cause)
            let state = try await queue.handle.getTask("first")
            #expect(state.state == (cause == .timeLimit ? .timeout : .cancelled) && state.isEnding)
            try await submit(queue, "limited", .cancel, limit)
            #expect(try await pull(queue, "w2") == [], "the limit was free")
            try await submit(queue, "plain")
            #expect(try await pull(queue, "w1") == [], "the slot was free")
            let worker = try await queue.handle.getWorkers().first { $0.id == "w1" }
            #expect(worker?.busy == 1 && worker?.ending == 1)
            try await queue.snapshot()

            try await self.end(queue, "first", on: "w1", end)
            try await queue.snapshot()
            #expect(try await queue.handle.getTask("first").isEnding == false)
            #expect(Set(try await pull(queue, "w2")) == ["limited", "plain"])
            // Told again, nothing changes.
            if end == .ended { try await self.end(queue, "first", on: "w1", end) }
            #expect(try await queue.raw("SMEMBERS", "{}running:k").array?.count == 1)
            try await queue.snapshot()
        }
    }

    @Test(arguments: [(retries: 1, rounds: 1), (retries: 3, rounds: 3)])
    func aTaskNeverRunsBesideItsFormerAttempt(scene: (retries: Int, rounds: Int)) async throws {
        try await TestQueue.run { queue in
            for id in ["w1", "w2"] { try await register(queue, id, ["slots", "2", "grace_ms", "5000"]) }
            try await submit(queue, "t")
            for round in 1...scene.rounds {
                let (worker, other) = round % 2 == 1 ? ("w1", "w2") : ("w2", "w1")
                #expect(try await pull(queue, worker) == ["t"])
                for _ in 1...scene.retries {
                    try await queue.call("cancel", "task", "t")
                    #expect(try await queue.call("retry", "task", "t")[0]?.string == "pending")
                }
                #expect(try await queue.handle.getTask("t").heldBy == .ending)
                #expect(try await queue.handle.explain("t").reasons.first?.code == "ending")
                for either in [worker, other] { #expect(try await pull(queue, either) == []) }
                try await queue.call("prioritize", "priority", "critical", "task", "t")
                #expect(try await pull(queue, other) == [])
                try await queue.snapshot()
                try await queue.call(
                    "finish", "worker", .string(worker), "task", "t", "attempt", .integer(Int64(round)), "outcome",
                    "ended")
                #expect(try await queue.handle.getTask("t").heldBy == nil)
            }
            #expect(try await pull(queue, "w1") == ["t"])
            #expect(try await queue.handle.getTask("t").attempt == scene.rounds + 1)
            try await queue.snapshot()
        }
    }

    @Test(arguments: [0, 2000, 60_000])
    func aRetryAfterATimeLimitWaitsForTheProcessAndForItsBackoff(backoff: Int) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": backoff, "retry_jitter_percent": 0]) { queue in
            for id in ["w1", "w2"] { try await register(queue, id, ["grace_ms", "20000"]) }
            try await queue.call("submit", "task", "t", "max_retries", "3", "timeout_ms", "17000")
            try await tellToEnd(queue, "t", on: "w1", .timeLimit)
            #expect(try await queue.handle.getTask("t").heldBy == (backoff == 0 ? .ending : .retry))
            try await queue.age(by: .milliseconds(min(backoff, 10_000) + 1))
            for id in ["w1", "w2"] { try await queue.call("heartbeat", "worker", .string(id)) }
            _ = try await queue.tick()
            #expect(try await queue.handle.getTask("t").heldBy == (backoff > 10_000 ? .retry : .ending))
            #expect(try await pull(queue, "w2") == [])
            try await queue.snapshot()
            try await end(queue, "t", on: "w1", .ended)
            #expect(try await queue.handle.getTask("t").heldBy == (backoff > 10_000 ? .retry : nil))
            #expect(try await pull(queue, "w2") == (backoff > 10_000 ? [] : ["t"]))
            try await queue.snapshot()
        }
    }

    @Test func aWorkerThatReportsNoEndsFreesEverythingAtOnce() async throws {
        try await TestQueue.run { queue in
            for (number, former) in [nil, "5000"].enumerated() {
                // The second worker's former process reported ends, and this one does not.
                let worker = "w\(number)"
                if let former { try await register(queue, worker, ["grace_ms", .string(former)]) }
                try await register(queue, worker)
                let limit: [RedisArgument] = ["concurrency_key", "k\(number)", "concurrency_limit", "1"]
                try await submit(queue, "first\(number)", .cancel, limit.map { $0 })
                try await tellToEnd(queue, "first\(number)", on: worker, .cancel)
                try await submit(queue, "next\(number)", .cancel, limit)
                #expect(try await pull(queue, worker) == ["next\(number)"])
            }
            try await queue.snapshot()
        }
    }

    @Test(arguments: [1, 25, 90])
    func manyEndAtOnce(count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1000]) { queue in
            try await register(queue, "w1", ["slots", "100", "grace_ms", "5000"])
            for number in 0..<count {
                try await submit(queue, "t\(number)", .cancel, ["concurrency_key", "k", "concurrency_limit", "90"])
            }
            #expect(try await queue.call("pull", "worker", "w1", "max", "100", "start", "1").assignments.count == count)
            let ids = (0..<count).flatMap { ["task", .string("t\($0)")] as [RedisArgument] }
            try await queue.call("cancel", ids)
            #expect(try await queue.raw("ZCARD", "{}ending").int == Int64(count))
            #expect(try await queue.call("purge", ids).array?.allSatisfy { $0.error?.code == "INVALIDSTATE" } == true)
            // The retention does not delete them either.
            try await queue.call("configure", "retention_ms", "1", "max_finished", "1")
            _ = try await queue.tick(limit: 1000, cleanup: true)
            #expect(try await queue.snapshot().taskIDs.count == count)
            let reports = (0..<count).flatMap {
                ["task", .string("t\($0)"), "attempt", "1", "outcome", "ended"] as [RedisArgument]
            }
            let reply = try await queue.call("finish", ["worker", "w1"] + reports)
            #expect(reply[0]?.array?.allSatisfy { $0.string == "ended" } == true)
            #expect(try await queue.raw("EXISTS", "{}running:k", "{}ending").int == 0)
            try await queue.snapshot()
        }
    }

    @Test func emptyingAQueueEndsItsEndings() async throws {
        try await TestQueue.run { queue in
            try await register(queue, "w1", ["slots", "3", "grace_ms", "5000"])
            for id in ["a", "b", "c"] { try await submit(queue, id, .cancel, ["concurrency_key", .string(id)]) }
            #expect(try await pull(queue, "w1").count == 3)
            var left: Int64? = -1
            for _ in 1...20 where left != 0 {
                left = try await queue.call("purge_queue", "confirm", .string(queue.name), "limit", "2").int
            }
            #expect(left == 0)
            let snapshot = try await queue.snapshot()
            #expect(snapshot.taskIDs == [] && snapshot.sortedSet("ending") == [:] && snapshot.ids("running:") == [])
            // The process of a task reports its end, and the next task with its id is another one.
            try await end(queue, "a", on: "w1", .ended)
            try await submit(queue, "a", .cancel, ["concurrency_key", "a"])
            #expect(try await pull(queue, "w1") == ["a"])
            try await queue.snapshot()
        }
    }

    @Test func aLateCompletionIsRefusedAndFreesTheSlotForTheNextTask() async throws {
        try await TestQueue.run { queue in
            try await register(queue, "w1", ["slots", "1", "grace_ms", "5000"])
            try await submit(queue, "t")
            try await tellToEnd(queue, "t", on: "w1", .cancel)
            try await submit(queue, "next")
            let report: [RedisArgument] = [
                "worker", "w1", "pull", "1", "start", "1", "holding", "0", "task", "t", "attempt", "1", "outcome",
                "completed",
            ]
            let reply = try await queue.call("finish", report)
            #expect(reply[0]?[0]?.error?.code == "LEASELOST")
            #expect(reply[1]?.assignments.map(\.id) == ["next"])
            #expect(try await queue.handle.getTask("t").state == .cancelled)
            try await queue.snapshot()
        }
    }

    @Test func reportsOfAQueueThatLostItsDataChangeNothing() async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            try await register(queue, "w1", ["grace_ms", "5000"])
            try await submit(queue, "t")
            try await tellToEnd(queue, "t", on: "w1", .cancel)
            try await queue.raw("FLUSHALL")
            try await end(queue, "t", on: "w1", .ended)
            #expect(try await queue.raw("DBSIZE").int == 0)
            // A task that uses the id again is another one.
            try await register(queue, "w1", ["grace_ms", "5000"])
            try await submit(queue, "t")
            #expect(try await pull(queue, "w1") == ["t"])
            let reply = try await queue.call(
                "finish", "worker", "w1", "task", "t", "attempt", "1", "outcome", "ended")
            #expect(reply[0]?[0]?.error?.code == "INVALIDSTATE")
            #expect(try await queue.handle.getTask("t").state == .running)
            try await queue.snapshot()
        }
    }

    @Test(arguments: [(own: nil, expected: 20_000), (own: 0, expected: 0), (own: 60_000, expected: 60_000)])
    func theGraceOfATaskReplacesThatOfItsWorker(scene: (own: Int?, expected: Int)) async throws {
        try await TestQueue.run { queue in
            try await register(queue, "w1", ["grace_ms", "20000"])
            var task = QueuedTask(BuildRequest(), id: "t")
            task.scheduling.grace = scene.own.map { .milliseconds($0) }
            _ = try await queue.handle.addTask(task)
            try await tellToEnd(queue, "t", on: "w1", .cancel)
            let ending = try await queue.snapshot().sortedSet("ending")["t w1"] ?? 0
            let finished = try await queue.handle.getTask("t").finishedAt?.timeIntervalSince1970 ?? 0
            #expect(abs(ending - (finished * 1000).rounded() - Double(scene.expected + 15_000)) <= 1)
        }
    }
}
