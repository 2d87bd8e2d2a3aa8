import RedisClient
import SwitchyardTesting
import Testing

@Suite("Attempt numbers of an id that is used again")
struct AttemptNumberTests {
    /// The ways in which an ended task is removed.
    enum Removal: String, CaseIterable {
        case purge, purgeQueue, retention

        func happen(to id: String, in queue: TestQueue) async throws {
            switch self {
            case .purge: #expect(try await queue.call("purge", "task", .string(id))[0]?.string == "purged")
            case .purgeQueue: try await queue.purgeAll()
            case .retention:
                try await queue.call("configure", "retention_ms", "0")
                try await queue.tickUntilDone(cleanup: true)
            }
            #expect(try await queue.call("get", "task", .string(id))[0] == .null)
        }
    }

    /// Pulls and starts the next task. Returns the number of its attempt.
    private func start(_ id: String, _ queue: TestQueue) async throws -> Int {
        let got = try await queue.pull("w", start: true)
        #expect(got.map(\.id) == [id])
        return got.first?.attempt ?? 0
    }

    @Test(arguments: Removal.allCases, [1, 2, 4])
    func goOnAndAReportOfTheFormerLifeIsRefused(removal: Removal, attempts: Int) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            try await queue.register("w", slots: 3)
            var latest = 0
            // The id is used for three tasks, one after the other.
            for life in 0..<3 {
                try await queue.submit("t", maxRetries: attempts - 1, ["payload": "\(life)"])
                for _ in 0..<attempts {
                    let attempt = try await start("t", queue)
                    #expect(attempt == latest + 1)
                    for former in stride(from: latest, to: 0, by: -1) {
                        let late = try await queue.finish("w", "t", attempt: former, "completed")
                        // A repeated report on the present task gets the same reply; reports on earlier tasks of the id
                        // are refused.
                        let isOfThisLife = former > life * attempts
                        #expect(isOfThisLife || late.error?.code == "LEASELOST", "\(former) of \(attempt): \(late)")
                    }
                    latest = attempt
                    try await queue.finish("w", "t", attempt: attempt, "failed")
                }
                #expect(try await queue.call("get", "task", "t")[0]?.pairs["state"]?.string == "failed")
                try await removal.happen(to: "t", in: queue)
            }
        }
    }

    @Test(arguments: Ending.allCases)
    func goOnHoweverTheLastAttemptEnded(ending: Ending) async throws {
        try await TestQueue.run(settings: ["default_max_retries": 0]) { queue in
            try await queue.register("w", slots: 3)
            let ids = ["a", "b.1", "c:2"]
            for id in ids {
                try await queue.submit(id, maxRetries: 0)
                #expect(try await queue.pull("w", start: ending != .released).map(\.id) == [id])
                try await ending.happen(to: id, of: "w", in: queue)
                try await queue.register("w", slots: 3)
                // Cancels a task that is pending again, or that has failed.
                _ = try await queue.call("cancel", "task", .string(id))
                #expect(try await queue.call("purge", "task", .string(id))[0]?.string == "purged")
            }
            try await queue.submit(ids.map { ($0, [:]) })
            let got = try await queue.pull("w", max: 3, start: true)
            #expect(got.map(\.id) == ids)
            #expect(got.map(\.attempt) == [2, 2, 2])
            for id in ids {
                #expect(try await queue.finish("w", id, attempt: 1, "completed").error?.code == "LEASELOST")
                #expect(try await queue.finish("w", id, attempt: 2, "completed").string == "completed")
            }
        }
    }

    @Test func aPurgedTaskIsAbsentForEveryLookUp() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 3)
            for n in 0..<3 {
                let options = ["unique_key": "k", "payload": "secret", "concurrency_key": "c"]
                try await queue.submit([("t", options)], call: ["batch": "B\(n)"])
                #expect(try await start("t", queue) == n + 1)
                try await queue.end("t")
                #expect(try await queue.call("purge", "task", "t")[0]?.string == "purged")

                #expect(try await queue.call("get", "task", "t")[0] == .null)
                for function in ["cancel", "retry", "purge"] {
                    let answer = try await queue.call(function, "task", "t")[0]
                    #expect(answer?.error?.code == "TASKNOTFOUND", "\(function)")
                }
                let moved = try await queue.call("prioritize", "priority", "low", "task", "t")
                #expect(moved[0]?.error?.code == "TASKNOTFOUND")
                try await expectRefusal("TASKNOTFOUND") { try await queue.call("explain", "task", "t") }
                try await expectRefusal("BADREQUEST") { try await queue.submit("x", ["depends_on": "t"]) }
                #expect(try await queue.call("list")[1]?.array?.count == 0)
                let late = try await queue.finish("w", "t", attempt: n + 1, "completed")
                #expect(late.error?.code == "TASKNOTFOUND")
                #expect(try await queue.stats().pending == 0)
            }
        }
    }

    @Test(arguments: [1, 150])
    func goOnInABatchThatIsStaged(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 200)
            let tasks = (0..<count).map { (id: "t\($0)", options: [String: String]()) }
            for life in 1...2 {
                for start in stride(from: 0, to: count, by: 60) {
                    let part = Array(tasks[start..<min(start + 60, count)])
                    try await queue.submit(part, call: ["batch": "B\(life)", "stage": "1"])
                }
                let batch = RedisArgument.string("B\(life)")
                for _ in 0..<20 where try await queue.call("open_batch", "batch", batch).int ?? 0 == 0 { break }
                try await queue.tickUntilDone()
                var got: [(id: String, attempt: Int)] = []
                for _ in 0..<2 { got += try await queue.pull("w", max: 100, start: true) }
                #expect(got.map(\.id) == tasks.map(\.id))
                #expect(got.map(\.attempt) == tasks.map { _ in life })
                for task in got { try await queue.finish("w", task.id, attempt: task.attempt, "completed") }
                try await queue.purgeAll()
            }
        }
    }
}
