import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("A queue as a whole")
struct QueueFeatureTests {
    @Test func whileItDrainsItTakesNothingNewAndFinishesWhatItHas() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await queue.submit("a")
            try await queue.call("configure", "draining", "1")
            try await expectRefusal("QUEUEDRAINING") { try await queue.submit("b") }
            #expect(try await queue.runAll("w") == ["a"])
            try await queue.call("configure", "draining", "0")
            try await queue.submit("b")
        }
    }

    @Test func isPurgedOfEverythingWithItsNameAsConfirmation() async throws {
        try await TestQueue.run { queue in
            try await expectRefusal("BADREQUEST") { try await queue.call("purge_queue", "confirm", "another") }
            for (n, situation) in Situation.allCases.enumerated() { try await queue.put("s\(n)", in: situation) }
            try await queue.register("w", slots: 3, ["cpu": "1", "labels": "gpu"])
            let tasks = [
                ("lane", ["cpu": "1"]), ("gpu", ["requires": "gpu"]), ("root", [:]), ("waits", ["depends_on": "root"]),
                ("k1", ["concurrency_key": "k", "unique_key": "u"]), ("k2", ["concurrency_key": "k"]),
                ("k3", ["concurrency_key": "k", "depends_on": "k2"]),
            ]
            try await queue.submit(tasks, call: ["batch": "B"])
            try await queue.take("w", max: 3)
            try await queue.purgeAll()
            try await queue.tickUntilDone()
            let left = try await queue.snapshot()
            #expect(left.taskIDs.isEmpty)
            for prefix in [
                "pending", "held", "waiting", "lane", "closed", "running:", "waiters:", "unique:", "batch:", "members:",
                "dependents:",
            ] {
                #expect(left.contents.keys.filter { $0.hasPrefix(prefix) }.isEmpty)
            }
        }
    }

    @Test func aPriorityIsChangedInPlace() async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 60_000]) { queue in
            try await queue.register("w", slots: 2, ["labels": "gpu"])
            try await queue.submit([
                ("1", [:]), ("2", [:]), ("3", ["requires": "gpu"]), ("4", [:]), ("later", ["delay_ms": "60000"]),
                ("waits", ["depends_on": "1"]),
            ])
            try await queue.call(
                "prioritize", "priority", "high", "task", "4", "task", "2", "task", "later", "task", "waits")
            try await queue.call("prioritize", "priority", "critical", "task", "3")
            try await queue.snapshot()
            #expect(try await queue.take("w", max: 2) == ["3", "2"])
            let answer = try await queue.call("prioritize", "priority", "low", "task", "2").array?.first
            #expect(answer?.error?.code == "INVALIDSTATE")
            for id in ["3", "2"] { try await queue.end(id) }
            #expect(try await queue.runAll("w") == ["4", "1", "waits"])
            try await queue.age(by: .seconds(61))
            try await queue.register("w", slots: 2, ["labels": "gpu"])
            try await queue.tick()
            #expect(try await queue.runAll("w") == ["later"])
        }
    }

    @Test func aGroupIsPulledTogether() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 4)
            try await queue.submit([
                ("a1", ["group_key": "a"]), ("b1", ["group_key": "b"]), ("a2", ["group_key": "a"]), ("x", [:]),
                ("a3", ["group_key": "a"]),
            ])
            let reply = try await queue.call("pull", "worker", "w", "max", "4", "start", "1", "together", "1")
            #expect(reply.assignments.map(\.id) == ["a1", "a2", "a3", "b1"])
            for id in ["a1", "a2", "a3", "b1"] { try await queue.end(id) }
            #expect(try await queue.runAll("w") == ["x"])
        }
    }

    @Test func lengthCountsEachTaskOnceWhereverItStands() async throws {
        for aging in [0, 60_000] {
            try await TestQueue.run(settings: ["max_queue_length": 5, "aging_ms": aging]) { queue in
                try await queue.submit([
                    ("a", [:]), ("b", ["requires": "gpu"]), ("c", ["depends_on": "a"]), ("d", ["delay_ms": "60000"]),
                ])
                try await queue.submit("e")
                try await expectRefusal("QUEUEFULL") { try await queue.submit("f") }
            }
        }
    }

    @Test func demandTellsLanesAndTheClassesThatServeThem() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w1", slots: 2, ["labels": "gpu"])
            try await queue.register("w2")
            try await queue.submit([("a", ["requires": "gpu"]), ("b", [:]), ("c", ["requires": "os=mac"])])
            try await queue.take("w1")
            let reply = try await queue.call("demand")
            let lanes = (reply[0]?.array ?? []).map { $0.array?.map { $0.string ?? "\($0.int ?? -1)" } ?? [] }
            #expect(Set(lanes) == [["", "1", "", "gpu"], ["os=mac", "1"]])
            let classes = (reply[1]?.array ?? []).map { $0.array?.map { $0.string ?? "\($0.int ?? -1)" } ?? [] }
            #expect(Set(classes) == [["", "1", "1", "0", "0"], ["gpu", "1", "2", "1", "0"]])
        }
    }
}
