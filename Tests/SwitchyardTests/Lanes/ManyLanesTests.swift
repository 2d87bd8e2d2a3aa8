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
            // A worker that serves some of the lanes registers.
            try await queue.register("x", ["labels": "label0,label7,label\(lanes - 1)"])
            // Which of very many lanes a new class serves is determined in steps.
            try await queue.tickUntilDone()
            #expect(try await queue.call("stats").pairs["unroutable"]?.int == Int64(lanes - 3))
            let expected = ["plain", "t0", "t0-again", "t7", "t\(lanes - 1)"]
            #expect(try await queue.runAll("x").sorted() == expected.sorted())
            try await queue.purgeAll()
        }
    }

    /// How the lanes differ. A worker with one free core could run their tasks only when it is idle.
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
                    // A task that fits is found behind all the others.
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

    /// Each class serves each lane but one: a single reply would have 200,000 names.
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

    /// A pull looks at a bounded number of lanes; the worker is told to pull again.
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
            // Each task is alone in its lane.
            try await queue.submit(ids.map { ($0, ["requires": "gpu,x!=\($0)"]) })
            #expect(try await queue.take("w", max: 100) == ids)
        }
    }

    // MARK: Classes that come and go

    enum Leaving: CaseIterable { case byOtherLabels, byNewLabels, byDeregistration }

    /// A worker without labels serves lanes that only require the absence of a label.
    @Test(arguments: Leaving.allCases, [1, 200])
    func areCountedWhenTheLastWorkerWithoutLabelsLeaves(how: Leaving, lanes: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("mac", ["labels": "os=mac"])
            try await queue.register("any")
            try await submit(queue, (0..<lanes).map { ("t\($0)", ["requires": "os!=mac,x!=\($0)"]) })
            #expect(try await queue.call("stats").pairs["unroutable"]?.int == 0)
            switch how {
            case .byOtherLabels: try await queue.register("any", ["labels": "os=mac"])
            case .byNewLabels: try await queue.register("any", ["labels": "os=mac,gpu"])
            case .byDeregistration: try await queue.call("deregister", "worker", "any")
            }
            try await finishClassSteps(queue)
            #expect(try await queue.call("stats").pairs["unroutable"]?.int == Int64(lanes))
            try await queue.register("any")
            try await finishClassSteps(queue)
            #expect(try await queue.call("stats").pairs["unroutable"]?.int == 0)
        }
    }

    /// Ticks until it is known which lanes no class serves.
    private func finishClassSteps(_ queue: TestQueue) async throws {
        func isDone() async throws -> Bool {
            let reply = try await queue.raw("HMGET", "{}config", "classes_version", "served_version")
            return reply[0]?.string ?? "0" == reply[1]?.string ?? "0"
        }
        for _ in 0..<100 where try await !isDone() { try await queue.tick() }
        #expect(try await isDone())
    }

    /// Each lane is served by other classes, so that it is in a group of its own.
    @Test(arguments: [7, 9, 40, 300])
    func ofGroupsOfTheirOwnAreAllLookedAt(lanes: Int) async throws {
        try await TestQueue.run { queue in
            for n in 0..<lanes { try await queue.register("w\(n)", ["labels": "zone=z\(n)"]) }
            try await queue.register("all", slots: 1000, ["labels": "gpu,zone=none"])
            try await finishClassSteps(queue)
            let ids = (0..<lanes).map { "t\($0)" }
            try await submit(queue, (0..<lanes).map { (ids[$0], ["requires": "zone!=z\($0)"]) })
            var got: [String] = []
            for _ in 0..<10 where got.count < lanes { got += try await queue.take("all", max: 100) }
            #expect(got == ids)
            // Other workers find nothing, and all that serve the next task find it.
            #expect(try await queue.take("w3") == [])
            try await queue.submit([("next", ["requires": "zone!=z3"])])
            #expect(try await queue.take("w3") == [])
            // The pull looks at a bounded number of groups that are now empty; the worker is told to pull again.
            var next: [String] = []
            for _ in 0..<3 where next.isEmpty { next = try await queue.take("w5") }
            #expect(next == ["next"])
        }
    }

    /// Most of the groups have changed since the class last had workers.
    @Test(arguments: [1, 149, 150, 151, 400])
    func areFoundByAClassThatComesBack(lanes: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            let gpu = ["labels": "gpu,os=linux"]
            try await queue.register("other", ["labels": "os=linux"])
            try await queue.register("a", slots: 1000, gpu)
            try await submit(queue, (0..<lanes).map { ("t\($0)", ["requires": "os=linux,x!=\($0)"]) })
            for _ in 0..<3 {
                try await queue.call("deregister", "worker", "a")
                // The class comes back after some of the lanes have changed their group, or all, or none.
                if lanes > 150 { try await queue.tick() } else { try await finishClassSteps(queue) }
                try await queue.register("a", slots: 1000, gpu)
            }
            try await finishClassSteps(queue)
            var got: [String] = []
            for _ in 0..<10 where got.count < lanes { got += try await queue.take("a", max: 100) }
            #expect(got == (0..<lanes).map { "t\($0)" })
            try await queue.purgeAll()
        }
    }

    /// Several classes appear while tasks are pulled.
    @Test(arguments: [200, 700])
    func areFoundWhileManyClassesAppear(lanes: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.register("first", slots: 1000, ["labels": "gpu"])
            try await submit(queue, (0..<lanes).map { ("t\($0)", ["requires": "gpu,x!=\($0)"]) })
            for n in 0..<5 { try await queue.register("c\(n)", slots: 1000, ["labels": "gpu,host=h\(n)"]) }
            #expect(try await queue.take("first", max: 3) == ["t0", "t1", "t2"])
            try await queue.submit([("urgent", ["requires": "gpu,x!=\(lanes - 1)", "priority": "critical"])])
            try await queue.call("deregister", "worker", "c1")
            #expect(try await queue.take("first", max: 1) == ["urgent"])
            try await finishClassSteps(queue)
            try await queue.register("late", slots: 1000, ["labels": "gpu,host=late"])
            try await finishClassSteps(queue)
            var got: [String] = []
            for n in 0..<200 where got.count < lanes - 3 {
                got += try await queue.take(["c0", "c2", "c3", "c4", "late"][n % 5], max: n % 90 + 10)
            }
            #expect(got == (3..<lanes).map { "t\($0)" })
            // The remaining groups are removed.
            #expect(try await queue.reconcileAll() == 0)
            let left = try await queue.snapshot().contents.keys
            #expect(left.filter { $0 == "work" || $0.hasPrefix("work:") } == [])
            try await queue.purgeAll()
        }
    }

    /// Workers of a few classes come and go while tasks are submitted, pulled and cancelled. The lanes are few, so that
    /// they overlap.
    @Test(arguments: 1...TestLength.of(UInt64(3), long: 6))
    func areConsistentWhileWorkersComeAndGo(seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            let labels = ["gpu", "gpu,os=linux", "os=linux", "os=mac", "gpu,os=mac,host=a", ""]
            let capacities = ["", "2", "8"]
            let needs = ["gpu", "os=linux", "os!=mac", "gpu,os=linux|mac", "host=a", "", "os!=linux"]
            var next = 0
            for step in 0..<250 {
                let worker = "w\(Int.random(in: 0..<8, using: &random))"
                switch Int.random(in: 0..<10, using: &random) {
                case 0...1:
                    var options = ["labels": labels.randomElement(using: &random)!]
                    let cpu = capacities.randomElement(using: &random)!
                    if !cpu.isEmpty { options["cpu"] = cpu }
                    try await queue.register(worker, slots: 5, options)
                case 2: _ = try? await queue.call("deregister", "worker", .string(worker))
                case 3...6:
                    var options = ["requires": needs.randomElement(using: &random)!]
                    if Bool.random(using: &random) { options["cpu"] = "\(Int.random(in: 1...4, using: &random))" }
                    if Int.random(in: 0..<4, using: &random) == 0 { options["concurrency_key"] = "k\(step % 3)" }
                    options["priority"] = ["low", "normal", "high"].randomElement(using: &random)!
                    try await queue.submit([("t\(next)", options.filter { !$0.value.isEmpty })])
                    next += 1
                case 7...8:
                    for id in try await queue.pulled(worker) { try await queue.end(id) }
                default: try await queue.tick(cleanup: true)
                }
                try await queue.snapshot()
            }
            try await finishClassSteps(queue)
            #expect(try await queue.reconcileAll(limit: 3) == 0)
        }
    }
}

extension TestQueue {
    /// Returns what the worker pulls; nothing if it is not registered.
    fileprivate func pulled(_ worker: String) async throws -> [String] {
        do { return try await take(worker, max: 2) } catch { return [] }
    }
}
