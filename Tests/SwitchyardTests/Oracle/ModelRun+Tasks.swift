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

    /// A worker that drains hands back what it has started.
    mutating func handBack() async throws {
        guard let id = ids({ $0.isLive }).randomElement(using: &generator), let task = model.tasks[id] else { return }
        if chance(50), let worker = task.worker {
            try await call("drain", ["worker", .string(worker)])
            model.drain(worker)
        }
        try await call("release", ["drain", "1"] + claim(task))
        model.handBack(id)
    }

    /// A worker reports that processes that were told to end are gone; sometimes with another outcome, or again.
    mutating func reportEnding() async throws {
        let some = ids { $0.ending != nil }
        guard let id = some.randomElement(using: &generator), let task = model.tasks[id],
            let worker = chance(90) ? task.ending?.worker : self.worker()
        else { return }
        var reports: [ModelReport] = []
        for other in some where other == id || model.tasks[other]?.ending?.worker == worker && chance(50) {
            let attempt = model.tasks[other]?.attempt ?? 1
            reports.append(
                ModelReport(
                    id: other, attempt: max(1, chance(95) ? attempt : attempt - 1),
                    outcome: chance(80) ? "ended" : pick(["completed", "failed", "timeout"])))
        }
        if chance(10), let live = ids({ $0.isLive && $0.worker == worker }).first {
            reports.append(ModelReport(id: live, attempt: model.tasks[live]?.attempt ?? 1, outcome: "ended"))
        }
        let arguments: [RedisArgument] = reports.flatMap {
            [
                "task", .string($0.id), "attempt", .integer(Int64($0.attempt)), "outcome", .string($0.outcome),
            ] as [RedisArgument]
        }
        let reply = try await call("finish", ["worker", .string(worker)] + arguments)
        let found = (reply[0]?.array ?? []).map { $0.error?.code ?? $0.string ?? "" }
        let expected = model.report(reports, by: worker)
        try expect(found == expected, "the reports of ends got \(found), expected \(expected)")
        done["ended", default: 0] += 1
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
            if model.tasks[id]?.ending != nil {
                try expect(answer.error?.code == "INVALIDSTATE", "purge of \(id), which is ending, got \(answer)")
                continue
            }
            try expect(answer.string == "purged", "purge of \(id) returned \(answer)")
            model.forget(id)
            gone.append(id)
        }
    }
}
