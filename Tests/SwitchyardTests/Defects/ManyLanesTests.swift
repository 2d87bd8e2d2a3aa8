import RedisClient
import SwitchyardTesting
import Testing

@Suite("A thousand lanes")
struct ManyLanesTests {
    private func submit(_ queue: TestQueue, _ tasks: [(id: String, options: [String: String])]) async throws {
        for start in stride(from: 0, to: tasks.count, by: 250) {
            try await queue.submit(Array(tasks[start..<min(start + 250, tasks.count)]))
        }
    }

    @Test(arguments: [1000, 1500], ["gpu", "gpu,os=linux"])
    func hideNoTaskFromTheWorkerThatServesIt(lanes: Int, requires: String) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await submit(queue, (0..<lanes).map { ("t\($0)", ["requires": "label\($0)"]) })
            try await queue.register("w", slots: 5, ["labels": "gpu,os=linux"])
            #expect(try await queue.take("w", max: 5) == [])
            for n in 0..<3 {
                let reply = try await queue.call(
                    "submit", "task", .string("mine\(n)"), "requires", .string(requires), "priority", "low")
                #expect(reply[0]?[2]?.string == "woken")
                #expect(try await queue.take("w", max: 5) == ["mine\(n)"])
            }
            try await queue.purgeAll()
        }
    }

    @Test(arguments: [1000, 1500])
    func areCountedWhenNobodyServesThem(lanes: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.register("w", ["labels": "gpu"])
            try await submit(queue, (0..<lanes).map { ("t\($0)", ["requires": "label\($0)"]) })
            try await submit(
                queue, [("served", ["requires": "gpu"]), ("plain", [:]), ("t0-again", ["requires": "label0"])])
            #expect(try await queue.call("stats").pairs["unroutable"]?.int == Int64(lanes + 1))
            // One that comes to serve some of them.
            try await queue.register("x", ["labels": "label0,label7,label\(lanes - 1)"])
            // What a new class serves of very many lanes is found out in steps.
            try await queue.tickUntilDone()
            #expect(try await queue.call("stats").pairs["unroutable"]?.int == Int64(lanes - 3))
            let expected = ["plain", "t0", "t0-again", "t7", "t\(lanes - 1)"]
            #expect(try await queue.runAll("x").sorted() == expected.sorted())
            try await queue.purgeAll()
        }
    }

    /// How the lanes differ that a worker with one core left could run when it is empty.
    enum Kind: String, CaseIterable {
        case labels, amounts

        func options(_ n: Int) -> [String: String] {
            switch self {
            case .labels: ["requires": "zone!=z\(n)", "cpu": "2"]
            case .amounts: ["cpu": "2." + String(1000 + n).suffix(3)]
            }
        }
    }

    @Test(arguments: Kind.allCases)
    func thatDoNotFitCostAPullNoMoreThanOne(kind: Kind) async throws {
        try await TestRedis.run { redis in
            func cost(_ lanes: Int) async throws -> Int {
                var found = 0
                try await TestQueue.run(on: redis, settings: ["max_queue_length": 5000]) { queue in
                    try await queue.register("w", slots: 4, ["cpu": "4"])
                    try await queue.submit("runs", ["cpu": "3"])
                    #expect(try await queue.take("w") == ["runs"])
                    try await submit(queue, (0..<lanes).map { ("t\($0)", kind.options($0)) })
                    #expect(try await queue.take("w", max: 4) == [])
                    found = try await redis.commands { try await queue.call("pull", "worker", "w", "max", "4") }
                    // A task that fits is found behind them all.
                    try await queue.submit("small", priority: .low, ["cpu": "1"])
                    var got: [String] = []
                    let last = try await redis.commands { got = try await queue.take("w", max: 4) }
                    #expect(got == ["small"])
                    found = max(found, last)
                    try await queue.purgeAll()
                }
                return found
            }
            let one = try await cost(1)
            let many = try await cost(1000)
            #expect(many <= one + 100, "a pull runs \(many) commands, and \(one) with one lane")
        }
    }

    @Test func andTwoHundredClassesCostStatisticsNothing() async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis, settings: ["max_queue_length": 5000]) { queue in
                for n in 0..<200 { try await queue.register("w\(n)", ["labels": "zone=z\(n)"]) }
                let before = try await redis.commands { try await queue.call("stats") }
                try await submit(queue, (0..<1000).map { ("t\($0)", ["requires": "zone!=z\($0)"]) })
                let after = try await redis.commands { try await queue.call("stats") }
                #expect(after <= before + 50, "stats runs \(after) commands, and \(before) without lanes")
                #expect(try await queue.call("stats").pairs["unroutable"]?.int == 0)
                try await queue.purgeAll()
            }
        }
    }

    /// Each class serves each lane but one: all of it in one reply would be 200,000 names.
    @Test func andTwoHundredClassesAreTheDemandOfSeveralPages() async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis, settings: ["max_queue_length": 5000]) { queue in
                for n in 0..<200 { try await queue.register("w\(n)", ["labels": "zone=z\(n)"]) }
                try await submit(queue, (0..<1200).map { ("t\($0)", ["requires": "zone!=z\($0)"]) })
                var lanes: [String] = []
                var cursor = ""
                for _ in 0..<500 {
                    let reply = try await queue.call(
                        "demand", cursor.isEmpty ? [] : ["cursor", .string(cursor)])
                    #expect(reply.elementCount <= 50_000)
                    lanes += (reply[0]?.array ?? []).compactMap { $0[0]?.string }
                    cursor = reply[2]?.string ?? ""
                    if cursor.isEmpty { break }
                }
                #expect(cursor.isEmpty)
                let named = lanes.filter { !$0.isEmpty }
                #expect(Set(named) == Set((0..<1200).map { "zone!=z\($0)" }))
                #expect(named.count == 1200)
                try await queue.purgeAll()
            }
        }
    }

    /// A pull looks at no more than some of them; the worker is told to ask again.
    @Test(arguments: [150, 450, 1000])
    func thatAnotherClassHasEmptiedHideNoTask(lanes: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.register("a", slots: 1000, ["labels": "zone=a"])
            try await queue.register("b", ["labels": "zone=b"])
            try await submit(queue, (0..<lanes).map { ("t\($0)", ["concurrency_key": "k\($0)"]) })
            var taken = 0
            for _ in 0..<100 where taken < lanes { taken += try await queue.take("a", max: 100).count }
            #expect(taken == lanes)
            try await queue.submit("last", priority: .low, ["requires": "zone=b"])
            var got: [String] = []
            for _ in 0..<20 where got.isEmpty {
                got = try await queue.take("b")
                if !got.isEmpty { break }
                #expect(try await queue.raw("LLEN", "{}wake:b").int == 1, "nothing, and no wake-up")
                try await queue.raw("DEL", "{}wake:b")
            }
            #expect(got == ["last"])
            try await queue.purgeAll()
        }
    }

    @Test(arguments: [9, 20, 100])
    func areAllLookedAtByAPullThatHasRoom(lanes: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100, ["labels": "gpu"])
            let ids = (0..<lanes).map { "t\($0)" }
            // Each alone in its lane.
            try await queue.submit(ids.map { ($0, ["requires": "gpu,x!=\($0)"]) })
            #expect(try await queue.take("w", max: 100) == ids)
        }
    }
}
