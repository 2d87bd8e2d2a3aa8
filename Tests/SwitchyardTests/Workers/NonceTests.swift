import NIOCore
import RedisClient
import SwitchyardTesting
import Testing

@Suite("Worker processes with one id")
struct NonceTests {
    /// Registers a process, and repeats the call while the reply asks for that. Returns the number of calls.
    @discardableResult
    private func register(
        _ queue: TestQueue, _ worker: String = "w", nonce: String?, slots: Int = 9
    ) async throws -> Int {
        var arguments: [RedisArgument] = ["worker", .string(worker), "slots", .integer(Int64(slots))]
        if let nonce { arguments += ["nonce", .string(nonce)] }
        for count in 1...20 {
            guard try await queue.call("register", arguments).pairs["again"]?.string == "1" else { return count }
        }
        Issue.record("the registration does not come to an end")
        return 20
    }

    @Test(arguments: [1, 2, 5], ["running", "assigned"])
    func theDeathOfAProcessCountsThoughItsWorkerIsRestarted(most: Int, held: String) async throws {
        try await TestQueue.run(settings: ["max_deliveries": most, "default_max_retries": 100]) { queue in
            try await register(queue, nonce: "p0")
            try await queue.submit([("killer", [:]), ("victim", ["depends_on": "killer"])])
            for death in 1...most {
                // The retry after the second loss waits for its backoff.
                try await queue.pass(.seconds(400), heartbeats: ["w"])
                try await queue.tick()
                let got = try await queue.pull("w", start: held == "running")
                #expect(got.map(\.id) == ["killer"])
                #expect(got.map(\.attempt) == [death])
                try await register(queue, nonce: "p\(death)")
                let fields = try await queue.fields(of: "killer")
                #expect(fields["state"] == (death == most ? "failed" : "pending"))
                #expect(fields["deliveries"] == "\(death)")
                if death < most { #expect(fields["attempt:\(death)"]?.contains(#""outcome":"lost""#) == true) }
            }
            #expect(try await queue.number("lost") == most)
            #expect(try await queue.fields(of: "killer")["error_code"] == "WorkerNotFound")
            #expect(try await queue.states(of: ["victim"]) == ["cancelled"])
        }
    }

    @Test(arguments: ["pull", "finish", "heartbeat", "start", "release", "log", "deregister", "drain"])
    func theFormerProcessIsRefused(function: String) async throws {
        try await TestQueue.run(settings: ["default_max_retries": 9]) { queue in
            try await register(queue, nonce: "old")
            try await queue.submit([("a", [:]), ("b", [:])])
            try await queue.pull("w", max: 2, start: function == "finish" || function == "log")
            try await register(queue, nonce: "new.1")
            // The new process runs the same tasks, with other attempts.
            let again = try await queue.pull("w", max: 2, start: function == "finish" || function == "log")
            #expect(again.map(\.id).sorted() == ["a", "b"])
            #expect(again.map(\.attempt) == [2, 2])
            let before = try await queue.call("get", "task", "a", "task", "b")
            for attempt in ["1", "2"] {
                try await expectRefusal("WORKERNOTFOUND") {
                    var arguments: [RedisArgument] = ["worker", "w", "nonce", "old"]
                    if !["pull", "deregister", "drain"].contains(function) {
                        arguments += ["task", "a", "attempt", .string(attempt)]
                    }
                    if function == "finish" { arguments += ["outcome", "completed", "result", "of the former"] }
                    if function == "log" { arguments += ["stdout", "text"] }
                    try await queue.call(function, arguments)
                }
            }
            #expect(try await queue.call("get", "task", "a", "task", "b") == before)
            #expect(try await queue.handle.getWorkers().map(\.isDraining) == [false])
            // Calls of the new process succeed, with or without its nonce.
            try await queue.call("heartbeat", "worker", "w", "nonce", "new.1", "task", "a", "attempt", "2")
            try await queue.call("heartbeat", "worker", "w", "task", "b", "attempt", "2")
        }
    }

    @Test func aReportOfTheFormerProcessIsRefusedAsAWhole() async throws {
        try await TestQueue.run(settings: ["default_max_retries": 9]) { queue in
            try await register(queue, nonce: "old")
            try await queue.submit((0..<5).map { ("t\($0)", [:]) })
            #expect(try await queue.take("w", max: 3).count == 3)
            try await register(queue, nonce: "new")
            try await expectRefusal("WORKERNOTFOUND") {
                try await queue.call(
                    "finish", "worker", "w", "nonce", "old", "pull", "2", "start", "1", "task", "t0", "attempt", "1",
                    "outcome", "completed", "task", "t1", "attempt", "1", "outcome", "failed")
            }
            #expect(try await queue.number("running") == 0)
            #expect(try await queue.number("completed") == 0)
            #expect(try await queue.number("pending") == 5)
        }
    }

    @Test(arguments: [1, 24, 25, 26, 60])
    func whatTheFormerHeldIsEndedInBoundedSteps(held: Int) async throws {
        try await TestQueue.run(settings: ["default_max_retries": 9]) { queue in
            try await register(queue, nonce: "old", slots: 100)
            try await queue.submit((0..<held).map { ("t\($0)", [:]) })
            #expect(try await queue.take("w", max: 100).count == held)
            var lost = 0
            for _ in 0..<10 {
                let reply = try await queue.call("register", "worker", "w", "slots", "100", "nonce", "new")
                let now = try await queue.number("lost")
                #expect(now - lost <= 25)
                lost = now
                if reply.pairs["again"]?.string != "1" { break }
                #expect(now < held)
            }
            #expect(lost == held)
            #expect(try await queue.number("running") == 0)
            let got = try await queue.pull("w", max: 100, start: true)
            #expect(got.count == held)
            #expect(got.allSatisfy { $0.attempt == 2 })
        }
    }

    @Test func aProcessThatReconnectsKeepsWhatItHolds() async throws {
        try await TestQueue.run { queue in
            try await register(queue, nonce: "same")
            try await queue.submit([("a", [:]), ("b", [:])])
            #expect(try await queue.take("w", max: 2) == ["a", "b"])
            // The same process, with and without its nonce.
            for nonce in ["same", nil, "same"] { #expect(try await register(queue, nonce: nonce) == 1) }
            #expect(try await queue.number("running") == 2)
            let reply = try await queue.call(
                "finish", "worker", "w", "nonce", "same", "task", "a", "attempt", "1", "outcome", "completed")
            #expect(reply[0]?[0]?.string == "completed")
            // Then another process registers.
            try await register(queue, nonce: "other")
            #expect(try await queue.number("running") == 0)
            #expect(try await queue.pull("w", max: 2).map(\.attempt) == [2])
        }
    }

    @Test func theFormerProcessGetsNothingForATaskOfTheNewOne() async throws {
        try await TestQueue.run { queue in
            for nonce in ["old", "new"] { try await register(queue, nonce: nonce) }
            try await queue.submit([("t", [:]), ("next", [:])])
            #expect(try await queue.take("w") == ["t"])
            try await expectRefusal("WORKERNOTFOUND") {
                try await queue.call(
                    "finish", "worker", "w", "nonce", "old", "pull", "1", "start", "1", "task", "t", "attempt", "1",
                    "outcome",
                    "completed")
            }
            #expect(try await queue.states(of: ["t", "next"]) == ["running", "pending"])
        }
    }

    @Test func ofTwoLiveProcessesOnlyTheLaterWorks() async throws {
        try await TestQueue.run { queue in
            for nonce in ["one", "two"] { try await register(queue, nonce: nonce, slots: 2) }
            try await queue.submit((0..<4).map { ("t\($0)", [:]) })
            var got: [String] = []
            for nonce in ["one", "two", "one", "two"] {
                do {
                    let reply = try await queue.call("pull", "worker", "w", "start", "1", "nonce", .string(nonce))
                    got += reply.assignments.map(\.id)
                    #expect(nonce == "two")
                } catch let error as RedisError {
                    #expect(error.code == "WORKERNOTFOUND")
                    #expect(nonce == "one")
                }
            }
            #expect(got == ["t0", "t1"])
        }
    }

    @Test(arguments: ["", "a b", "ü", "a/b", String(repeating: "x", count: 201)])
    func aNonceIsAName(nonce: String) async throws {
        try await TestQueue.run { queue in
            try await expectRefusal("BADREQUEST") {
                try await queue.call("register", "worker", "w", "nonce", .string(nonce))
            }
            #expect(try await queue.number("workers") == 0)
            try await register(queue, nonce: String(repeating: "x", count: 200))
        }
    }
}
