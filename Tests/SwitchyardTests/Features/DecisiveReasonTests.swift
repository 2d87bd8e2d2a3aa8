import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("The first reason decides")
struct DecisiveReasonTests {
    private func first(_ id: String, _ queue: TestQueue) async throws -> [String: String] {
        try await queue.reasons(id).first ?? [:]
    }

    /// A requirement with another value, a missing label, a resource that is too small, a label that is excluded, and a
    /// worker that takes only certain tasks.
    @Test(arguments: [
        (["labels": "gpu,cuda=12"], ["requires": "cuda=13,gpu"], "w lacks cuda=13, has 12"),
        (["labels": "gpu"], ["requires": "cuda=13"], "w lacks cuda=13"),
        (["cpu": "4"], ["cpu": "8"], "w lacks cpu=8, has 4"),
        (["labels": "zone=eu"], ["requires": "zone!=eu"], "w lacks zone!=eu, has eu"),
        (["labels": "gpu", "only": "gpu"], [:], "w takes only tasks that require gpu"),
        (["labels": "os=mac"], ["requires": "os=linux|windows"], "w lacks os=linux|windows, has mac"),
    ])
    func namesTheNearestMiss(offers: [String: String], options: [String: String], text: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", offers)
            try await queue.submit("t", options)
            let reason = try await first("t", queue)
            #expect(reason["code"] == "no_worker_matches")
            #expect(reason["message"]?.contains(text) == true, "\(reason)")
            #expect(reason["nearest"] == "w")
            let last = try await queue.reasons("t").last
            #expect(last?["code"] == "position")
        }
    }

    @Test func theNearestLacksLeast() async throws {
        try await TestQueue.run { queue in
            try await queue.register("a")
            try await queue.register("gpu-1", ["labels": "gpu,cuda=12"])
            try await queue.register("z", ["labels": "gpu"])
            try await queue.submit("t", ["requires": "gpu,cuda=13"])
            #expect(try await first("t", queue)["nearest"] == "gpu-1")
        }
    }

    @Test func thePositionDecidesOnlyWhileAWorkerHasRoom() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 2)
            for id in ["a", "b", "c"] { try await queue.submit(id) }
            #expect(try await queue.take("w") == ["a"])
            #expect(try await first("c", queue)["code"] == "position")
            #expect(try await queue.take("w") == ["b"])
            #expect(try await first("c", queue)["code"] == "workers_busy")
            try await queue.call("configure", "paused", "1")
            #expect(try await first("c", queue)["code"] == "paused")
        }
    }

    /// The one worker that serves the task is the last of them, also by the order of expiry.
    @Test(arguments: [999, 1500]) func seesAllWorkers(count: Int) async throws {
        try await TestQueue.run { queue in
            for n in 0..<count - 1 { try await queue.register("w\(n)", ["labels": "os=linux"]) }
            try await queue.submit("t", ["requires": "os=windows"])
            #expect(try await first("t", queue)["workers"] == "\(count - 1)")
            try await queue.register("last", ["labels": "os=windows"])
            #expect(try await first("t", queue)["code"] == "position")
            #expect(try await queue.take("last") == ["t"])
            try await queue.submit("u", ["requires": "os=windows"])
            #expect(try await first("u", queue)["code"] == "workers_busy")
            let workers = try await queue.handle.getWorkers()
            #expect(workers.count == count)
            #expect(workers.filter { $0.activity == .busy }.map(\.id) == ["last"])
        }
    }
}
