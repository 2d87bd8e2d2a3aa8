import RedisClient
import SwitchyardTesting
import Testing

@Suite("Dependents whose id is used again")
struct DependentCountTests {
    enum Removal: String, CaseIterable {
        case purge, abandon, retention

        func remove(_ id: String, depends: String, from queue: TestQueue) async throws {
            switch self {
            case .abandon:
                try await queue.submit([(id, ["depends_on": depends])], call: ["batch": "B", "stage": "1"])
                for _ in 0..<3 { try await queue.call("abandon_batch", "batch", "B") }
            case .purge, .retention:
                try await queue.submit([(id, ["depends_on": depends])])
                try await queue.call("cancel", "task", .string(id))
                if self == .retention {
                    try await queue.call("configure", "retention_ms", "0")
                    try await queue.age(by: .seconds(1))
                    try await queue.tickUntilDone(cleanup: true)
                } else {
                    #expect(try await queue.outcomes("purge", [id]) == ["purged"])
                }
            }
            #expect(try await queue.states(of: [id]) == [nil])
        }
    }

    @Test(arguments: Removal.allCases, [1, 2, 3])
    func eachWaitsForAllOfItsDependencies(removal: Removal, times: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            let others = ["x", "y", "z"]
            for id in others { try await queue.submit(id, priority: .high) }
            for id in ["t", "u"] {
                for _ in 0..<times { try await removal.remove(id, depends: "x,y,z", from: queue) }
            }
            try await queue.submit([("t", ["depends_on": "x,y,z"]), ("u", ["depends_on": "z,x", "run_anyway": "1"])])
            try await queue.register("w", slots: 9)
            #expect(try await queue.take("w", max: 9) == others)
            for (id, started) in [("x", [String]()), ("z", ["u"]), ("y", ["t"])] {
                try await queue.end(id)
                #expect(try await queue.take("w", max: 9) == started, "after \(id)")
            }
        }
    }

    @Test(arguments: Removal.allCases)
    func oneThatNoLongerDependsIsNotCancelledWithTheFormer(removal: Removal) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            for id in ["x", "y"] { try await queue.submit(id, maxRetries: 0) }
            try await removal.remove("t", depends: "x", from: queue)
            try await queue.submit("t", ["depends_on": "y"])
            try await queue.register("w", slots: 9)
            #expect(try await queue.take("w", max: 9) == ["x", "y"])
            try await queue.end("x", "failed")
            #expect(try await queue.states(of: ["t"]) == ["pending"])
            #expect(try await queue.take("w", max: 9).isEmpty)
            try await queue.end("y")
            #expect(try await queue.take("w", max: 9) == ["t"])
        }
    }

    @Test(arguments: Removal.allCases)
    func oneThatDependsOnNothingNowRunsAtOnceAndOnce(removal: Removal) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9)
            try await queue.submit("x")
            #expect(try await queue.take("w") == ["x"])
            try await removal.remove("t", depends: "x", from: queue)
            try await queue.submit("t", ["delay_ms": "600000"])
            try await queue.register("w", slots: 9)
            try await queue.end("x")
            #expect(try await queue.take("w", max: 9).isEmpty)
            #expect(try await queue.fields(of: "t")["held_by"] == "schedule")
        }
    }
}
