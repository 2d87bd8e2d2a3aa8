import JSON
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// The first reason of a pending task, without `explain`; and what makes no queue.
@Suite struct WaitingReasonTests {
    @Test func aPendingTaskHasItsFirstReason() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.worker(queue)
        let gpu = try await world.submit(#"{"requires":["os=windows"]}"#, queue: queue)
        let one = try await world.ask(.GET, "/scheduler/task/\(gpu)?queue=\(queue)")
        #expect(one["reason"]["code"].string == "no_worker_matches")
        #expect(one["reason"]["message"].string?.contains("w1 lacks os=windows, has linux") == true)
        let list = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)")
        #expect(list["tasks"][0]["reason"] == one["reason"])
    }

    @Test func aListSaysWhyATaskInLineWaits() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        // Requirements of twelve kinds: the first ten are explained.
        for index in 0..<12 {
            let kind = index < 10 ? "os=os\(index)" : "gpu=\(index)"
            for _ in 0..<2 { _ = try await world.submit(#"{"requires":["\#(kind)"]}"#, queue: queue) }
        }
        func reasons() async throws -> [JSONValue] {
            let list = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)")["tasks"]
            return (0..<list.count).map { list[$0]["reason"] }
        }
        let alone = try await reasons()
        #expect(alone.count == 24)
        #expect(alone.count { $0["message"].string == "no worker is registered; start one" } == 20)
        let worker = try await world.worker(queue, slots: 1)
        #expect(try await reasons().count { $0["code"].string == "no_worker_matches" } == 20)
        // Tasks that the worker serves wait for its slot; each of them is told so.
        let plain = world.newQueue()
        let busy = try await world.worker(plain, slots: 1)
        for _ in 0..<4 { _ = try await world.submit("{}", queue: plain) }
        func codes() async throws -> [String?] {
            let list = try await world.ask(.GET, "/scheduler/tasks?queue=\(plain)&state=pending")["tasks"]
            return (0..<list.count).map { list[$0]["reason"]["code"].string }
        }
        #expect(try await codes() == ["position", "position", "position", "position"])
        #expect(try await busy.pull(max: 1, holding: 0).count == 1)
        #expect(try await codes() == ["workers_busy", "workers_busy", "workers_busy"])
        #expect(worker.worker == "w1")
    }

    @Test func aListSaysWhatHoldsATask() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let worker = try await world.worker(queue)
        let first = try await world.submit(#"{"concurrency_key":"k"}"#, queue: queue)
        _ = try await world.submit(#"{"concurrency_key":"k"}"#, queue: queue)
        _ = try await world.submit(#"{"delay_seconds":60}"#, queue: queue)
        _ = try await world.submit(#"{"depends_on":["\#(first)"]}"#, queue: queue)
        #expect(try await worker.pull(max: 1, holding: 0).count == 1)
        let tasks = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)")["tasks"]
        let reasons = (0..<4).map { tasks[$0]["reason"] }
        #expect(
            Set(reasons.map { $0["code"].string }) == [nil, "concurrency_limit", "schedule", "dependencies"])
        let texts = reasons.compactMap { $0["message"].string }
        #expect(texts.contains("concurrency_key k is at its limit of 1"))
        #expect(texts.contains("its run_at is in 60 s"))
        #expect(texts.contains("it waits for \(first)"))
    }

    @Test(arguments: ["pause", "resume", "drain"]) func aMistypedQueueIsRefused(verb: String) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await world.ask(.POST, "/scheduler/queue/\(queue)/\(verb)").expectProblem(404, code: "QueueNotFound")
        for path in ["queue/\(queue)", "stats?queue=\(queue)", "workers?queue=\(queue)", "tasks?queue=\(queue)"] {
            #expect(try await world.ask(.GET, "/scheduler/\(path)").status == 200)
        }
        #expect(try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: "{}").status == 200)
        let names = try await world.ask(.GET, "/scheduler/stats")["queues"].names
        #expect(!names.contains(queue))
        // Settings may come before the first task.
        #expect(
            try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"max_queue_length":7}"#).status == 200)
        #expect(try await world.ask(.POST, "/scheduler/queue/\(queue)/\(verb)").status == 200)
    }

    @Test func aBatchThatCanNeverFitGetsNoRetryAfter() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.ask(.PATCH, "/scheduler/queue/\(queue)", json: #"{"max_queue_length":2}"#)
        let body = #"[{"command":["a"]},{"command":["a"]},{"command":["a"]}]"#
        let never = try await world.ask(.POST, "/scheduler/tasks?queue=\(queue)", json: body)
        never.expectProblem(429, code: "QueueFull")
        #expect(never.headers.first(name: "Retry-After") == nil)
        #expect(never["retry_after"] == .null)
        #expect(never["message"].string?.contains("can never hold the 3 tasks") == true)
        _ = try await world.submit("{}", queue: queue)
        _ = try await world.submit("{}", queue: queue)
        let full = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: "{}")
        #expect(full.headers.first(name: "Retry-After") == "2")
    }

    @Test func aCordonedWorkerIsShown() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let worker = try await world.worker(queue)
        #expect(try await worker.pull(max: 1, holding: 0).isEmpty)
        func state() async throws -> String? {
            try await world.ask(.GET, "/scheduler/workers?queue=\(queue)")["workers"][0]["state"].string
        }
        func idle() async throws -> Int? {
            try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")["idle_workers"].int
        }
        #expect(try await state() == "idle")
        #expect(try await idle() == 1)
        let cordon = try await world.ask(.POST, "/scheduler/worker/w1/cordon?queue=\(queue)")
        #expect(cordon["cordoned"] == .bool(true))
        #expect(try await state() == "cordoned")
        #expect(try await idle() == 0)
        #expect(try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")["cordoned_workers"].int == 1)
        _ = try await world.ask(.POST, "/scheduler/worker/w1/uncordon?queue=\(queue)")
        #expect(try await worker.pull(max: 1, holding: 0).isEmpty)
        #expect(try await state() == "idle")
        // With one of four slots taken it could take a task: both say idle.
        _ = try await world.submit("{}", queue: queue)
        #expect(try await worker.pull(max: 1, holding: 0).count == 1)
        #expect(try await worker.pull(max: 1, holding: 1).isEmpty)
        #expect(try await state() == "idle")
        #expect(try await idle() == 1)
        try await world.ask(.POST, "/scheduler/worker/typo/cordon?queue=\(queue)")
            .expectProblem(404, code: "WorkerNotFound")
    }

    @Test func withoutAQueueTheDemandIsThatOfAll() async throws {
        let world = try await World.shared
        let one = world.newQueue()
        let two = world.newQueue()
        for queue in [one, two] { _ = try await world.submit("{}", queue: queue) }
        let all = try await world.ask(.GET, "/scheduler/autoscale")
        #expect(all["queue"] == .null)
        #expect((all["desired_workers"].int ?? 0) >= 2)
        #expect(try await world.ask(.GET, "/scheduler/autoscale?queue=\(one)")["desired_workers"].int == 1)
    }
}
