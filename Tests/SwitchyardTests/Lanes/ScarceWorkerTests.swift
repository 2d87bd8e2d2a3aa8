import RedisClient
import SwitchyardTesting
import Testing

@Suite("Scarce workers")
struct ScarceWorkerTests {
    /// The workers that have been woken since they last pulled.
    private func woken(_ workers: [String], _ queue: TestQueue) async throws -> [String] {
        var woken: [String] = []
        for worker in workers where try await queue.raw("LLEN", "{}wake:" + worker).int ?? 0 > 0 {
            woken.append(worker)
        }
        return woken
    }

    private static let offers: [(id: String, offers: [String: String])] = [
        ("plain", [:]), ("linux", ["labels": "os=linux"]), ("big", ["labels": "os=linux", "cpu": "8"]),
        ("gpu", ["labels": "os=linux,gpu,zone=eu", "cpu": "8"]),
    ]

    /// Several orders in which the four workers may have fallen asleep.
    private static let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [3, 0, 2, 1], [2, 3, 1, 0]]

    @Test(arguments: orders, [("", "plain"), ("os=linux", "linux"), ("os!=mac", "plain"), ("zone=eu", "gpu")])
    func theLeastEndowedWorkerThatFitsIsWoken(order: [Int], task: (requires: String, worker: String)) async throws {
        try await TestQueue.run { queue in
            for index in order {
                let (id, offers) = Self.offers[index]
                try await queue.register(id, offers)
                try await queue.submit(
                    "before-" + id, priority: .critical, offers["labels"].map { ["requires": $0] } ?? [:])
                #expect(try await queue.take(id) == ["before-" + id])
                try await queue.end("before-" + id)
            }
            for index in order { #expect(try await queue.take(Self.offers[index].id).isEmpty) }
            let ids = Self.offers.map(\.id)
            try await queue.submit([("t", task.requires.isEmpty ? [:] : ["requires": task.requires])])
            #expect(try await woken(ids, queue) == [task.worker])
        }
    }

    @Test(arguments: orders)
    func severalTasksWakeOneAfterTheOtherByWhatTheyOffer(order: [Int]) async throws {
        try await TestQueue.run { queue in
            for index in order { try await queue.register(Self.offers[index].id, Self.offers[index].offers) }
            for index in order { #expect(try await queue.take(Self.offers[index].id).isEmpty) }
            let ids = Self.offers.map(\.id)
            for count in 1...4 {
                try await queue.submit("t\(count)", ["requires": count == 1 ? "os!=mac" : "os=linux"])
                #expect(try await woken(ids, queue) == Array(ids.prefix(count)))
            }
        }
    }

    @Test func aGpuWorkerIsFreeForItsTaskWhileOthersAreIdle() async throws {
        try await TestQueue.run { queue in
            // The gpu worker has slept for longest.
            try await queue.register("gpu", ["labels": "os=linux,gpu"])
            #expect(try await queue.take("gpu").isEmpty)
            let others = (0..<10).map { "x86-\($0)" }
            for worker in others { try await queue.register(worker, ["labels": "os=linux,arch=x86"]) }
            for worker in others { #expect(try await queue.take(worker).isEmpty) }
            for n in 0..<10 {
                try await queue.submit("t\(n)", ["requires": "os=linux"])
                #expect(try await woken(["gpu"], queue).isEmpty)
                #expect(try await woken(others, queue).count == n + 1)
            }
            try await queue.submit("scarce", ["requires": "gpu"])
            #expect(try await woken(["gpu"], queue) == ["gpu"])
            // Each worker that was woken pulls; at the end only the gpu worker is left.
            var taken: [String] = []
            for worker in others { taken += try await queue.take(worker) }
            #expect(taken == (0..<10).map { "t\($0)" })
            #expect(try await queue.take("gpu") == ["scarce"])
        }
    }

    // MARK: Workers for certain tasks only

    private static let tasks: [(id: String, options: [String: String])] = [
        ("plain", [:]), ("linux", ["requires": "os=linux"]), ("core", ["cpu": "1"]), ("not", ["requires": "gpu!=old"]),
        ("limited", ["concurrency_key": "gpu", "concurrency_limit": "5"]),
        ("gpu", ["requires": "gpu"]), ("gpu-linux", ["requires": "os=linux,gpu", "cpu": "1"]),
        ("value", ["requires": "gpu=a100|h100"]), ("fpga", ["requires": "fpga", "concurrency_key": "k"]),
    ]

    @Test(arguments: [
        ("gpu", ["gpu", "gpu-linux", "value"]), ("fpga", ["fpga"]),
        ("gpu,fpga", ["gpu", "gpu-linux", "value", "fpga"]),
        ("os", ["linux", "gpu-linux"]),
    ])
    func takeOnlyTasksThatRequireOneOfTheirLabels(only: String, expected: [String]) async throws {
        try await TestQueue.run { queue in
            let labels = ["labels": "gpu=a100,fpga,os=linux", "cpu": "16"]
            try await queue.register("only", slots: 20, labels.merging(["only": only]) { $1 })
            #expect(try await queue.take("only", max: 20).isEmpty)
            // It is woken for those tasks only.
            for (id, options) in Self.tasks {
                try await queue.submit([(id, options)])
                let wakes = try await woken(["only"], queue)
                #expect(wakes == (expected.contains(id) ? ["only"] : []), "\(id)")
                #expect(try await queue.take("only", max: 20) == (expected.contains(id) ? [id] : []))
            }
            for id in expected { try await queue.end(id) }
            // A report that pulls, and more urgent tasks, bring it no others either.
            try await queue.submit("urgent", priority: .critical)
            #expect(try await queue.take("only", max: 20).isEmpty)
            // Another worker with the same labels takes the rest, in their order.
            try await queue.register("any", slots: 20, labels)
            let rest = Self.tasks.map(\.id).filter { !expected.contains($0) }
            #expect(try await queue.take("any", max: 20) == ["urgent"] + rest)
        }
    }

    @Test func aTaskThatOnlySuchAWorkerCouldHoldHasNoWorker() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 9, ["labels": "gpu,os=linux", "only": "gpu", "cpu": "4"])
            for (n, options) in [[:], ["requires": "os=linux"], ["cpu": "1"]].enumerated() {
                try await expectRefusal("NOWORKERS") {
                    try await queue.submit([("t\(n)", options)], call: ["if_no_workers": "reject"])
                }
                try await queue.submit([("u\(n)", options)])
                #expect(try await queue.reasons("u\(n)").map { $0["code"] }.contains("no_worker_matches"))
            }
            #expect(try await queue.number("unroutable") == 3)
            try await queue.submit([("g", ["requires": "gpu"])], call: ["if_no_workers": "reject"])
            #expect(try await queue.take("w", max: 9) == ["g"])
        }
    }

    @Test(arguments: ["gpu", "mac", "os=linux,gpu", "gpu,os"])
    func onlyNamesLabelsThatTheWorkerHas(only: String) async throws {
        try await TestQueue.run { queue in
            try await expectRefusal("BADREQUEST") {
                try await queue.register("w", ["labels": "os=linux", "only": only])
            }
            #expect(try await queue.number("workers") == 0)
            try await queue.register("w", ["labels": "os=linux", "only": "os"])
            #expect(try await queue.number("workers") == 1)
        }
    }

    @Test func aWorkerMayBeRegisteredAnewWithoutTheRestriction() async throws {
        try await TestQueue.run { queue in
            for _ in 0..<2 {
                try await queue.register("w", ["labels": "gpu", "only": "gpu"])
                try await queue.submit("t")
                #expect(try await queue.take("w").isEmpty)
                try await queue.register("w", ["labels": "gpu"])
                #expect(try await queue.take("w") == ["t"])
                try await queue.end("t")
                try await queue.purgeAll()
            }
        }
    }
}
