import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Loses or changes keys, and repairs them by the reconciler.
struct ModelDamage {
    var run: ModelRun
    private var lost: Set<String> = []

    init(run: ModelRun) { self.run = run }

    private var queue: TestQueue { run.queue }

    /// Makes up to `count` changes. Afterwards the model no longer describes the queue.
    mutating func damage(_ count: Int) async throws {
        for _ in 0..<count { try await damageOne() }
    }

    private mutating func damageOne() async throws {
        let tasks = run.ids { _ in true }
        guard !tasks.isEmpty else { return }
        let id = run.pick(tasks)
        guard let task = run.model.tasks[id] else { return }
        switch Int.random(in: 0..<8, using: &run.generator) {
        case 0: try await lose(task)
        case 1: try await lose(task, from: index(of: task))
        case 2: try await lose(task, from: index(of: task))
        case 3: try await note("HDEL", "{}attempts:" + (task.ending?.worker ?? task.worker ?? "nobody"), id)
        case 4: try await note("SREM", "{}running:" + (task.concurrency?.key ?? "none"), id)
        case 5: try await note("ZREM", "{}ending", id + " " + (task.ending?.worker ?? "nobody"))
        case 6: try await note("HDEL", "{}task:" + id, "ending")
        default:
            try await note("HSET", "{}stats", "in_lanes_" + task.priority.rawValue, "77")
        }
    }

    /// Deletes the hash of a task. Members of batches and tasks with unique keys are left alone: their batch would
    /// never end, and their key would stay taken.
    private mutating func lose(_ task: ModelTask) async throws {
        guard task.batch == nil, task.uniqueKey == nil else { return }
        lost.insert(task.id)
        try await note("DEL", "{}task:" + task.id)
    }

    private mutating func lose(_ task: ModelTask, from index: String) async throws {
        try await note("ZREM", "{}" + index, task.id)
    }

    private func index(of task: ModelTask) -> String {
        switch (task.state, task.heldBy) {
        case (.pending, nil): task.lane.isEmpty ? "pending" : "pending:" + task.lane
        case (.pending, "dependencies"): "waiting"
        case (.pending, _): "held"
        case (.assigned, _), (.running, _): "leases"
        default: "finished"
        }
    }

    private mutating func note(_ command: String, _ arguments: String...) async throws {
        run.trace.append("damage: \(command) \(arguments.joined(separator: " "))")
        try await queue.raw(command, arguments)
    }

    /// Runs the reconciler until a pass finds nothing. Then the queue is consistent, and every task that has a hash is
    /// in its index.
    mutating func repair() async throws {
        var repaired = -1
        for _ in 0..<6 where repaired != 0 {
            repaired = try await pass()
            // A task that depends on a lost task is told of its end.
            try await queue.tickUntilDone()
        }
        try run.expect(repaired == 0, "the sixth pass still repairs \(repaired)")
        try await queue.snapshot()
        let ids = run.ids { _ in true }.filter { !lost.contains($0) }
        let replies = try await queue.call("get", ids.flatMap { ["task", .string($0)] as [RedisArgument] })
        for (id, reply) in zip(ids, replies.array ?? []) {
            let state = reply.pairs["state"]?.string
            try run.expect(state != nil, "task \(id) is gone, and its hash was not lost")
        }
        // Looking the tasks up has repaired nothing: all were in their indexes.
        try run.expect(try await pass() == 0, "tasks stood in no index after the repair")
    }

    private mutating func pass() async throws -> Int {
        var cursor = ""
        var repaired = 0
        repeat {
            let reply = try await run.call("reconcile", ["cursor", .string(cursor), "limit", "7"])
            cursor = reply[0]?.string ?? ""
            repaired += Int(reply[1]?.int ?? -1)
        } while cursor != ""
        return repaired
    }
}
