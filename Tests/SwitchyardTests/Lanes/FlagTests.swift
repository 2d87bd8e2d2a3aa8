import RedisClient
import SwitchyardTesting
import Testing

@Suite("What a queue pays for")
struct FlagTests {
    /// A feature that a queue has used once.
    enum Feature: String, CaseIterable, CustomTestStringConvertible {
        case label, resource, fairness, affinity, dependency, uniqueKey, concurrency, rate, batch

        var testDescription: String { rawValue }

        /// The options of the `n`-th task.
        func options(_ n: Int) -> [String: String] {
            switch self {
            case .label: ["requires": "gpu"]
            case .resource: ["cpu": "1"]
            case .fairness: ["fairness_key": "tenant"]
            case .affinity: ["affinity_key": "repo"]
            case .dependency: ["depends_on": "first"]
            case .uniqueKey: ["unique_key": "k\(n)"]
            case .concurrency: ["concurrency_key": "k"]
            case .rate: ["rate_key": "k", "rate_per_second": "1000"]
            case .batch: [:]
            }
        }
    }

    /// Runs 40 tasks without options to their ends, submitted one by one and in a batch.
    private func life(_ queue: TestQueue, _ name: String) async throws {
        try await queue.register("p", slots: 10)
        for n in 0..<20 { try await queue.submit("\(name)\(n)") }
        try await queue.submit((20..<40).map { ("\(name)\($0)", [:]) })
        #expect(try await queue.runAll("p", holding: 10).count == 40)
        try await queue.call("deregister", "worker", "p")
    }

    /// Runs three tasks with `feature`, and deletes everything about them.
    private func use(_ feature: Feature, _ queue: TestQueue) async throws {
        try await queue.submit("first")
        try await queue.register("w", slots: 9, ["labels": "gpu", "cpu": "4"])
        for n in 0..<3 {
            let call = feature == .batch ? ["batch": "B\(n)"] : [:]
            try await queue.submit([("f\(n)", feature.options(n))], call: call)
        }
        for _ in 0..<20 {
            for id in try await queue.take("w", max: 9) { try await queue.end(id) }
            try await queue.pass(.seconds(1), heartbeats: ["w"])
            try await queue.tick()
        }
        try await queue.call("deregister", "worker", "w")
        let used = ["first", "f0", "f1", "f2"]
        #expect(try await queue.states(of: used) == used.map { _ in "completed" })
        try await queue.age(by: .seconds(200_000))
        for _ in 0..<3 { try await queue.tickUntilDone(cleanup: true) }
        #expect(try await queue.states(of: used) == used.map { _ in nil })
    }

    @Test(arguments: Feature.allCases)
    func aFeatureThatIsNoLongerUsedCostsNothing(feature: Feature) async throws {
        try await TestRedis.run { redis in
            func cost(after used: Feature?) async throws -> Int {
                let queue = try await TestQueue(on: redis)
                try await life(queue, "warm")
                if let used { try await use(used, queue) }
                let cost = try await redis.commands { try await life(queue, "t") }
                try await queue.snapshot()
                return cost
            }
            let plain = try await cost(after: nil)
            let used = try await cost(after: feature)
            #expect(used <= plain + 2, "\(plain) commands, and \(used) after \(feature)")
        }
    }

    @Test(arguments: Feature.allCases)
    func aFeatureIsThereAgainWhenItIsUsedAgain(feature: Feature) async throws {
        try await TestQueue.run { queue in
            for _ in 0..<3 {
                try await use(feature, queue)
                try await life(queue, "t")
                try await queue.purgeAll()
                if feature == .rate { try await queue.age(by: .seconds(10)) }
            }
        }
    }
}
