import RedisClient
import SwitchyardTesting
import Testing

@Suite("Retrying tasks that depend on others")
struct RetryDependencyTests {
    /// The ids of tasks, each with the ids of its dependencies.
    typealias Graph = [(id: String, on: [String])]

    private static let graphs: [Graph] = [
        [("a", []), ("b", ["a"])],
        [("a", []), ("b", ["a"]), ("c", ["b"])],
        [("a", []), ("b", ["a"]), ("c", ["a"]), ("d", ["b", "c"])],
        [("a", []), ("b", ["a"]), ("c", ["a", "b"]), ("d", ["a", "c"]), ("e", ["d", "b"])],
    ]

    private func submit(_ graph: Graph, _ queue: TestQueue, _ options: [String: String] = [:]) async throws {
        try await queue.submit(
            graph.map { id, on in
                let depends = on.isEmpty ? [:] : ["depends_on": on.joined(separator: ",")]
                return (id, options.merging(depends) { $1 }.merging(["max_retries": "0"]) { $1 })
            })
    }

    @Test(arguments: 0..<4, 0..<3)
    func allTogetherRunInTheOrderOfTheirDependencies(graph: Int, order: Int) async throws {
        let graph = Self.graphs[graph]
        let ids = graph.map(\.id)
        let named = [ids, ids.reversed(), ids.sorted { $0.hashValue < $1.hashValue }][order]
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await submit(graph, queue)
            // Several rounds: what an earlier retry left must not count.
            for _ in 0..<3 {
                #expect(try await queue.take("w", max: 9) == ["a"])
                try await queue.end("a", "failed")
                #expect(try await queue.states(of: ids) == ["failed"] + ids.dropFirst().map { _ in "cancelled" })
                #expect(try await queue.outcomes("retry", named) == named.map { _ in "pending" })
            }
            var completed: Set<String> = []
            while completed.count < ids.count {
                let ready = graph.filter { !completed.contains($0.id) && completed.isSuperset(of: $0.on) }.map(\.id)
                let got = try await queue.take("w", max: 9)
                #expect(got.sorted() == ready)
                guard !got.isEmpty else { return }
                for id in got { try await queue.end(id) }
                completed.formUnion(got)
            }
        }
    }

    @Test(arguments: [Ending.failed, .cancelled, .timeout], [1, 3])
    func aTaskIsRefusedWhileOneOfItsDependenciesHasNotSucceeded(ending: Ending, dependents: Int) async throws {
        try await TestQueue.run(settings: ["default_max_retries": 0]) { queue in
            try await queue.register("w", slots: 9)
            let ids = (0..<dependents).map { "b\($0)" }
            try await queue.submit("good", priority: .high)
            try await submit([("a", [])] + ids.map { ($0, ["good", "a"]) }, queue)
            try await queue.submit("sure", maxRetries: 0, ["depends_on": "a", "run_anyway": "1"])
            #expect(try await queue.take("w", max: 9) == ["good", "a"])
            try await queue.end("good")
            try await ending.happen(to: "a", of: "w", in: queue)
            #expect(try await queue.take("w", max: 9) == ["sure"])
            try await queue.end("sure", "failed")

            let before = try await queue.states(of: ids)
            #expect(try await queue.outcomes("retry", ids) == ids.map { _ in "INVALIDSTATE" })
            #expect(try await queue.states(of: ids) == before)
            // A task that runs whatever the outcome of its dependency may be retried; the others wait once the
            // dependency itself is retried.
            #expect(try await queue.outcomes("retry", ["sure"]) == ["pending"])
            #expect(try await queue.take("w", max: 9) == ["sure"])
            #expect(try await queue.outcomes("retry", ["a"]) == ["pending"])
            #expect(try await queue.outcomes("retry", ids) == ids.map { _ in "pending" })
            #expect(try await queue.take("w", max: 9) == ["a"])
            try await queue.end("a")
            #expect(try await queue.take("w", max: 9) == ids)
        }
    }

    @Test func aRefusedTaskHoldsBackThoseRetriedWithIt() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            for order in [["b", "c", "d"], ["d", "c", "b"], ["c", "b", "d"]] {
                try await submit([("a", []), ("b", ["a"]), ("c", ["b"]), ("d", ["c"])], queue)
                #expect(try await queue.take("w") == ["a"])
                try await queue.end("a", "failed")
                #expect(try await queue.outcomes("retry", order) == order.map { _ in "INVALIDSTATE" })
                #expect(try await queue.take("w", max: 9).isEmpty)
                try await queue.purgeAll()
            }
        }
    }

    @Test(arguments: [1, 2, 5])
    func aTaskThatNeverRanIsRefusedOnceItsDependencyIsGone(others: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            let more = (0..<others).map { "x\($0)" }
            try await submit([("a", [])] + more.map { ($0, []) } + [("b", ["a"] + more)], queue)
            #expect(try await queue.take("w", max: 9) == ["a"] + more)
            for id in more { try await queue.end(id) }
            try await queue.end("a", "failed")
            #expect(try await queue.outcomes("purge", ["a"]) == ["purged"])
            #expect(try await queue.outcomes("retry", ["b"]) == ["INVALIDSTATE"])
            #expect(try await queue.states(of: ["b"]) == ["cancelled"])
            #expect(try await queue.take("w", max: 9).isEmpty)
        }
    }

    @Test(arguments: ["failed", "timeout"])
    func aTaskThatRanMayRunAgainOnceItsDependencyIsGone(outcome: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await submit([("a", []), ("b", ["a"])], queue)
            #expect(try await queue.take("w") == ["a"])
            try await queue.end("a")
            #expect(try await queue.take("w") == ["b"])
            try await queue.end("b", outcome)
            #expect(try await queue.outcomes("purge", ["a"]) == ["purged"])
            #expect(try await queue.outcomes("retry", ["b"]) == ["pending"])
            #expect(try await queue.take("w", max: 9) == ["b"])
        }
    }

    // MARK: Unique keys

    @Test(arguments: ["pending", "assigned", "running", "delayed", "waiting"])
    func aTaskIsRefusedWhileAnotherHoldsItsUniqueKey(other: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit("stone")
            #expect(try await queue.take("w") == ["stone"])
            let keys = ["k", "main:x"]
            for key in keys { try await queue.submit("a-" + key, maxRetries: 0, ["unique_key": key]) }
            for id in try await queue.take("w", max: 9) { try await queue.end(id, "failed") }
            let failed = keys.map { "a-" + $0 }
            let options =
                other == "delayed" ? ["delay_ms": "600000"] : other == "waiting" ? ["depends_on": "stone"] : [:]
            for key in keys {
                try await queue.submit([("b-" + key, options.merging(["unique_key": key]) { $1 })])
            }
            if other == "assigned" || other == "running" {
                try await queue.pull("w", max: 9, start: other == "running")
            }

            #expect(try await queue.outcomes("retry", failed) == ["TASKEXISTS", "TASKEXISTS"])
            #expect(try await queue.states(of: failed) == ["failed", "failed"])
            // The key stays with the task that has it, and can be taken again when that task has ended.
            for key in keys { #expect(try await queue.submit([("c-" + key, ["unique_key": key])]) == ["b-" + key]) }
            for key in keys { try await queue.call("cancel", "task", .string("b-" + key)) }
            #expect(try await queue.outcomes("retry", failed) == ["pending", "pending"])
            for key in keys { #expect(try await queue.submit([("d-" + key, ["unique_key": key])]) == ["a-" + key]) }
            #expect(try await queue.take("w", max: 9) == failed)
        }
    }

    @Test(arguments: [2, 3, 6])
    func ofEqualTasksThatAreRetriedTogetherTheFirstRuns(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            let ids = (0..<count).map { "t\($0)" }
            for id in ids {
                try await queue.submit(id, maxRetries: 0, ["unique_key": "k"])
                #expect(try await queue.take("w") == [id])
                try await queue.end(id, "failed")
            }
            let named = Array(ids.reversed())
            #expect(
                try await queue.outcomes("retry", named) == ["pending"] + named.dropFirst().map { _ in "TASKEXISTS" })
            #expect(try await queue.take("w", max: 9) == [named[0]])
        }
    }

    @Test func aTaskWhoseUniqueKeyIsTakenHoldsBackItsDependentToo() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit([
                ("a", ["unique_key": "k", "max_retries": "0"]), ("b", ["depends_on": "a"]),
            ])
            #expect(try await queue.take("w") == ["a"])
            try await queue.end("a", "failed")
            try await queue.submit([("other", ["unique_key": "k"])])
            for order in [["a", "b"], ["b", "a"]] {
                let refusals = order.map { $0 == "a" ? "TASKEXISTS" : "INVALIDSTATE" }
                #expect(try await queue.outcomes("retry", order) == refusals)
            }
            #expect(try await queue.take("w", max: 9) == ["other"])
        }
    }
}
