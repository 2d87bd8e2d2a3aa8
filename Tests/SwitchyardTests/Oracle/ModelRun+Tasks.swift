import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Operations on tasks.
extension ModelRun {
    mutating func start() async throws {
        guard let id = ids({ $0.state == .assigned }).randomElement(using: &generator), let task = model.tasks[id]
        else { return }
        try await call("start", claim(task))
        model.start(id)
    }

    mutating func release() async throws {
        guard let id = ids({ $0.state == .assigned }).randomElement(using: &generator), let task = model.tasks[id]
        else { return }
        try await call("release", claim(task))
        model.release(id)
    }

    private func claim(_ task: ModelTask) -> [RedisArgument] {
        [
            "worker", .string(task.worker ?? ""), "task", .string(task.id), "attempt", .integer(Int64(task.attempt)),
        ]
    }

    mutating func finish() async throws {
        guard let id = ids({ $0.state == .running }).randomElement(using: &generator), let task = model.tasks[id]
        else { return }
        let worker = task.worker ?? ""
        let outcome = pick(["completed", "completed", "completed", "failed", "timeout"])
        let retryable = !chance(25)
        let pulls = chance(50)
        var arguments: [RedisArgument] = pulls ? ["pull", "2", "start", "1"] : []
        arguments += claim(task) + ["outcome", .string(outcome), "retryable", retryable ? "1" : "0"]
        // A report on an earlier attempt changes nothing.
        if chance(10), task.attempt > 1 {
            let stale = try await queue.finish(worker, id, attempt: task.attempt - 1, "completed")
            try expect(stale.error?.code == "LEASELOST", "an old attempt of \(id) got \(stale)")
        }
        let view = pulls ? try await view() : ModelView()
        let reply = try await call("finish", arguments)
        model.finish(id, outcome: outcome, retryable: retryable)
        let state = reply[0]?.array?.first?.string ?? "\(reply)"
        let expected = model.tasks[id]?.state.rawValue ?? ""
        try expect(state == expected, "finish of \(id) returned \(state), expected \(expected)")
        guard pulls else { return }
        try await compare(reply[1]?.assignments ?? [], view, worker, max: 2, start: true)
    }

    mutating func cancel() async throws {
        let open = ids { !$0.state.isTerminal }
        guard let id = open.randomElement(using: &generator) else { return }
        if chance(40) {
            let some = Array(Set([id] + (0..<4).map { _ in pick(open) })).sorted()
            try await call("cancel", some.flatMap { ["task", .string($0)] as [RedisArgument] })
            model.cancel(some)
        } else if !isSimple, let batch = model.tasks[id]?.batch {
            try await call("cancel_batch", ["batch", .string(batch)])
            model.cancelBatch(batch)
        } else {
            try await call("cancel", ["task", .string(id)])
            model.cancel([id])
        }
    }

    /// Retries one task, or several at once, including some that must not run again, and some that depend on each
    /// other.
    mutating func retry() async throws {
        let ended = ids { $0.state.isTerminal && $0.state != .completed }
        guard let id = ended.randomElement(using: &generator) else { return }
        var some = [id]
        if chance(60) {
            let near = model.tasks[id]?.dependencies ?? []
            let waiting = ids { $0.dependencies.contains(id) }
            let others =
                (0..<3).map { _ in pick(ended) } + near + waiting + (chance(20) ? ids { _ in true }.suffix(2) : [])
            some += others.filter { _ in chance(60) }
            some = Array(Set(some)).sorted().shuffled(using: &generator)
        }
        let reply = try await call("retry", some.flatMap { ["task", .string($0)] as [RedisArgument] })
        let found = (reply.array ?? []).map { $0.error?.code ?? $0.string ?? "" }
        let expected = model.retry(some)
        try expect(found == expected, "retry returned \(found), expected \(expected)")
        for answer in found { done["retry \(answer)", default: 0] += 1 }
    }

    mutating func prioritize() async throws {
        guard let id = ids({ $0.state == .pending }).randomElement(using: &generator) else { return }
        let priority = pick(TaskPriority.allCases)
        try await call("prioritize", ["priority", .string(priority.rawValue), "task", .string(id)])
        model.prioritize(id, priority, found: try await tags(of: [id])[id])
    }

    /// Purges some ended tasks, including those on which others depend.
    mutating func purgeSome(_ percent: Int = 30) async throws {
        let ended = ids { $0.state.isTerminal }.filter { _ in chance(percent) }
        guard !ended.isEmpty else { return }
        let reply = try await call("purge", ended.flatMap { ["task", .string($0)] as [RedisArgument] })
        for (id, answer) in zip(ended, reply.array ?? []) {
            try expect(answer.string == "purged", "purge of \(id) returned \(answer)")
            model.forget(id)
            gone.append(id)
        }
    }
}
