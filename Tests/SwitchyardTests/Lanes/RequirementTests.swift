import RedisClient
import SwitchyardTesting
import Testing

@Suite("Requirements and labels")
struct RequirementTests {
    /// A requirement, and whether it is met by workers with labels `os=linux,gpu,arch=arm`, and by workers without
    /// labels.
    static let forms: [(text: String, labelled: Bool, plain: Bool)] = [
        ("gpu", true, false), ("os", true, false), ("os=linux", true, false), ("os=mac", false, false),
        ("arch=arm|x86", true, false), ("arch=x86|riscv", false, false), ("os!=mac", true, true),
        ("os!=linux", false, true), ("os!=mac|linux", false, true), ("gpu,os=linux", true, false),
        ("gpu,os=mac", false, false),
    ]

    @Test(arguments: RequirementTests.forms)
    func decideWhoGetsATask(form: (text: String, labelled: Bool, plain: Bool)) async throws {
        try await TestQueue.run { queue in
            try await queue.register("labelled", ["labels": "os=linux,gpu,arch=arm"])
            try await queue.register("plain")
            try await queue.submit("t", ["requires": form.text])
            let unroutable = try await queue.call("stats").pairs["unroutable"]?.int
            #expect(unroutable == (form.labelled || form.plain ? 0 : 1))
            #expect(try await queue.take("labelled") == (form.labelled ? ["t"] : []))
            try await queue.call("cancel", "task", "t")
            try await queue.submit("u", ["requires": form.text])
            let got = try await queue.take("plain")
            #expect(got.contains("u") == form.plain)
        }
    }

    @Test func theMostUrgentOfAllLanesComesFirst() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", ["labels": "gpu,os=linux"])
            try await queue.submit("1", priority: .normal, ["requires": "gpu"])
            try await queue.submit("2", priority: .normal)
            try await queue.submit("3", priority: .high, ["requires": "os=linux"])
            try await queue.submit("4", priority: .critical, ["requires": "os=mac"])
            #expect(try await queue.runAll("w") == ["3", "1", "2"])
        }
    }

    /// The first such task sets the flag of a queue with lanes, so tasks after it take another path through the
    /// functions.
    @Test func aTasksPositionIsThatInItsOwnLine() async throws {
        try await TestQueue.run { queue in
            func position(_ id: String, _ requires: RedisArgument...) async throws -> Int64? {
                try await queue.call("submit", ["position", "1", "task", .string(id)] + requires)[0]?[3]?.int
            }
            for expected: Int64 in 0..<3 {
                let inLane = try await position("gpu-\(expected)", "requires", "gpu")
                let plain = try await position("any-\(expected)")
                #expect(inLane == expected && plain == expected)
            }
        }
    }

    @Test func aTaskThatNoWorkerServesIsRefusedOnlyIfAsked() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", ["labels": "gpu"])
            try await expectRefusal("NOWORKERS") {
                try await queue.submit([("t", ["requires": "os=mac"])], call: ["if_no_workers": "reject"])
            }
            try await queue.submit([("u", ["requires": "zone!=eu"])], call: ["if_no_workers": "reject"])
            #expect(try await queue.take("w") == ["u"])
        }
    }

    @Test func onlyAWorkerThatServesATaskIsWokenForIt() async throws {
        try await TestQueue.run { queue in
            try await queue.register("a")
            try await queue.register("b", ["labels": "gpu"])
            for worker in ["a", "b"] { try await queue.take(worker) }
            try await queue.submit("t", ["requires": "gpu"])
            let snapshot = try await queue.snapshot()
            #expect(snapshot.listCount("wake:a") == 0)
            #expect(snapshot.listCount("wake:b") == 1)
        }
    }

    @Test(arguments: ["a=", "=b", "a=b=c,", "a!", "a|b", "ü", "a=b|"])
    func whatIsNoRequirementIsRefused(text: String) async throws {
        try await TestQueue.run { queue in
            try await expectRefusal("BADREQUEST") { try await queue.submit("t", ["requires": text]) }
        }
    }
}
