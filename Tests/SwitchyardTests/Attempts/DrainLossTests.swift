import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// What a draining worker hands back or loses is not the task's fault: nothing is counted.
@Suite struct DrainLossTests {
    enum Loss: CaseIterable {
        case lease, heartbeats, otherProcess, deregistration
    }

    private func start(_ queue: TestQueue, _ worker: String, drains: Bool, starts: Bool = true) async throws {
        try await queue.call("register", "worker", .string(worker), "nonce", "n1", "slots", "30")
        let reply = try await queue.call(
            "pull", ["worker", .string(worker), "max", "30"] + (starts ? ["start", "1"] : []))
        try #require(!reply.assignments.isEmpty)
        if drains { try await queue.call("drain", "worker", .string(worker)) }
    }

    private func lose(_ queue: TestQueue, _ worker: String, _ ids: [String], _ loss: Loss) async throws {
        switch loss {
        case .lease: for id in ids { try await queue.expireLease(of: id) }
        case .heartbeats: try await queue.missHeartbeats(of: worker)
        case .otherProcess:
            var again = true
            while again {
                let reply = try await queue.call("register", "worker", .string(worker), "nonce", "n2", "slots", "30")
                again = reply.pairs["again"]?.string == "1"
            }
        case .deregistration: try await queue.call("deregister", "worker", .string(worker))
        }
        try await queue.tickUntilDone()
    }

    @Test(arguments: Loss.allCases, [1, 30])
    func lossesCountUnlessTheWorkerDrains(loss: Loss, count: Int) async throws {
        for drains in [true, false] {
            try await TestQueue.run(settings: ["max_deliveries": 2]) { queue in
                let ids = (0..<count).map { "t\($0)" }
                for id in ids { try await queue.call("submit", "task", .string(id), "max_retries", "0") }
                try await start(queue, "w", drains: drains)
                try await lose(queue, "w", ids, loss)
                for id in ids {
                    let task = try await queue.handle.getTask(id)
                    #expect(task.state == (drains ? .pending : .failed), "\(id)")
                    #expect(task.retryCount == 0 && task.attempts.map(\.outcome) == ["lost"])
                    #expect(task.attempts[0].failure?.code == "WorkerNotFound")
                }
                #expect(try await queue.handle.getStats().lost == count)
                try await queue.snapshot()
            }
        }
    }

    @Test(arguments: [true, false])
    func attemptsThatADrainingWorkerHandsBackAreNotCounted(starts: Bool) async throws {
        try await TestQueue.run(settings: ["max_deliveries": 1]) { queue in
            try await queue.call("submit", "task", "t", "max_retries", "0", "task", "later")
            for attempt in 1...4 {
                try await start(queue, "w\(attempt)", drains: true, starts: starts)
                let release: [RedisArgument] = [
                    "worker", .string("w\(attempt)"), "drain", "1", "task", "t", "attempt", .integer(Int64(attempt)),
                    "task", "later", "attempt", .integer(Int64(attempt)),
                ]
                let reply = try await queue.call("release", release)
                #expect(reply.array?.map(\.string) == ["pending", "pending"])
                #expect(try await queue.call("release", release)[0]?.error?.code == "LEASELOST")
                try await queue.snapshot()
            }
            let task = try await queue.handle.getTask("t")
            #expect(task.state == .pending && task.position == 0 && task.retryCount == 0)
            #expect(task.attempts.map(\.outcome) == Array(repeating: "returned", count: 4))
            #expect(try await queue.raw("HGET", "{}task:t", "deliveries").isNull)
        }
    }

    @Test(arguments: ["2", "x", "-1"])
    func badInputChangesNothing(value: String) async throws {
        try await TestQueue.run { queue in
            try await queue.call("submit", "task", "t")
            try await start(queue, "w", drains: false)
            let before = try await queue.snapshot()
            for (function, name) in [("release", "drain"), ("register", "grace_ms")] {
                let value = name == "grace_ms" && value == "2" ? "3600001" : value
                await #expect(throws: RedisError.self) {
                    try await queue.call(
                        function,
                        ["worker", "w", .string(name), .string(value)]
                            + (function == "release" ? ["task", "t", "attempt", "1"] : []))
                }
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }
}
