import JSON
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// The reasons for which a task waits, with their numbers.
@Suite struct ExplainTests {
    private func reasons(_ id: String, _ world: World, _ queue: String) async throws -> [String: JSONValue] {
        let answer = try await world.ask(.GET, "/scheduler/task/\(id)/explain?queue=\(queue)")
        #expect(answer.status == 200)
        #expect(answer["task_id"].string == id)
        var reasons: [String: JSONValue] = [:]
        for index in 0..<max(answer["reasons"].count, 0) {
            let reason = answer["reasons"][index]
            #expect(reason["message"].string?.isEmpty == false)
            reasons[reason["code"].string ?? ""] = reason
        }
        return reasons
    }

    @Test func aTaskInLineKnowsItsPlaceAndItsWorkers() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let first = try await world.submit("{}", queue: queue)
        let second = try await world.submit("{}", queue: queue)
        let alone = try await reasons(second, world, queue)
        #expect(alone["position"]?["ahead"].int == 1)
        #expect(alone["position"]?["priority"].string == "normal")
        #expect(alone["no_worker_matches"]?["workers"].int == 0)

        let worker = try await world.worker(queue, slots: 1)
        _ = try await worker.pull(max: 1, holding: 0)
        let busy = try await reasons(second, world, queue)
        #expect(busy["position"]?["ahead"].int == 0)
        #expect(busy["workers_busy"]?["matching"].int == 1)
        #expect(try await reasons(first, world, queue).isEmpty)
        #expect(
            try await world.ask(.GET, "/scheduler/task/\(first)/explain?queue=\(queue)")["state"].string == "running")
        try await world.ask(.GET, "/scheduler/task/none/explain?queue=\(queue)")
            .expectProblem(404, code: "TaskNotFound")
    }

    @Test func aHeldTaskNamesWhatHoldsIt() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let later = try await world.submit(#"{"delay_seconds":60}"#, queue: queue)
        let schedule = try await reasons(later, world, queue)["schedule"]
        #expect(schedule?["due_at"].string?.hasSuffix("Z") == true)
        let after = try await world.submit(#"{"depends_on":["\#(later)"]}"#, queue: queue)
        let dependencies = try await reasons(after, world, queue)["dependencies"]
        #expect(dependencies?["count"].int == 1)
        #expect(dependencies?["message"].string?.contains(later) == true)
    }

    @Test func limitsNamesTheirKeys() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let worker = try await world.worker(queue, slots: 4)
        _ = try await world.submit(#"{"concurrency_key":"7"}"#, queue: queue)
        let blocked = try await world.submit(#"{"concurrency_key":"7"}"#, queue: queue)
        _ = try await world.submit(#"{"rate_key":"r"}"#, queue: queue)
        let limited = try await world.submit(#"{"rate_key":"r"}"#, queue: queue)
        #expect(try await worker.pull(max: 4, holding: 0).count == 2)
        let concurrency = try await reasons(blocked, world, queue)["concurrency_limit"]
        #expect(concurrency?["key"].string == "7")
        #expect(concurrency?["limit"].int == 1)
        #expect(concurrency?["running"].int == 1)
        #expect(try await reasons(limited, world, queue)["rate_limit"]?["key"].string == "r")
        #expect(
            try await world.ask(.GET, "/scheduler/task/\(limited)?queue=\(queue)")["held_by"].string == "rate_limit")
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["blocked_tasks"].int == 2)
        #expect(stats["held_tasks"].int == 0)
        #expect(stats["pending_tasks"].int == 2)
    }

    @Test func whatNoWorkerHasIsNamed() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.worker(queue)
        let gpu = try await world.submit(#"{"requires":["gpu"]}"#, queue: queue)
        let reason = try await reasons(gpu, world, queue)["no_worker_matches"]
        #expect(reason?["message"].string?.contains("gpu") == true)
        #expect(try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")["unroutable_tasks"].int == 1)
        _ = try await world.ask(.POST, "/scheduler/queue/\(queue)/pause")
        #expect(try await reasons(gpu, world, queue)["paused"] != nil)
    }
}
