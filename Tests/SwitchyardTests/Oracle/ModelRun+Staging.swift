import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Batches that are submitted in parts.
extension ModelRun {
    /// Submits a part of a batch: the first, a further one, or a repeated one.
    mutating func stage() async throws {
        let known = model.stages.keys.sorted()
        let isNew = known.isEmpty || chance(60)
        nextID += 1
        let token = isNew ? "s\(nextID)" : pick(known)
        let batch = isNew ? "b-\(token)" : model.stages[token]?.batch ?? ""
        let before = model.stages[token]?.tasks ?? []
        var arguments: [RedisArgument] = ["batch", .string(batch), "stage", .string(token)]
        var tasks: [ModelTask] = []
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            let new = newTask(batch: batch, before: (before + tasks).map(\.id))
            arguments += new.arguments
            tasks.append(new.task)
        }
        try await submit(tasks, arguments, stage: token)
        guard chance(15), model.stages[token] != nil else { return }
        done["stage again", default: 0] += 1
        try await submit(tasks, arguments, stage: token)
    }

    mutating func openOrAbandon() async throws {
        let opening = model.batchWork.filter { !$0.unopened.isEmpty }.map(\.batch)
        if let batch = opening.first, chance(60) { return try await goOn(batch) }
        guard let token = model.stages.keys.sorted().randomElement(using: &generator),
            let batch = model.stages[token]?.batch
        else { return }
        if chance(20) { return try await abandon(token, batch) }
        let limit = pick([1, 1, 1, 2, 100])
        let arguments: [RedisArgument] = [
            "batch", .string(batch), "stage", .string(token), "limit", .integer(Int64(limit)),
        ]
        let members = model.stages[token]?.tasks.map(\.id) ?? []
        var left: Int?
        var code: String?
        do {
            left = Int(try await call("open_batch", arguments).int ?? -1)
        } catch let error as RedisError {
            code = error.code
        }
        // The batch stores the tag of its first task until all its tasks have entered the queue.
        let kept = try await queue.raw("HGET", "{}batch:" + batch, "opened_at_tag").string.flatMap(Double.init)
        let first = try await tags(of: Array(members.prefix(1))).values.first
        let expected = model.open(token, tag: kept ?? first)
        try expect(code == expected, "open_batch returned \(code ?? "ok"), expected \(expected ?? "ok")")
        done["open \(code ?? "ok")", default: 0] += 1
        guard code == nil else { return }
        let right = model.goOnOpening(batch, limit: limit)
        try expect(left == right, "open_batch returned \(left ?? -1), expected \(right)")
        try await settle()
    }

    /// A step of few tasks leaves the dependents of the tasks that it ended to the ticks.
    private mutating func settle() async throws {
        if try await queue.raw("EXISTS", "{}cascade").int == 1 { try await tick() }
    }

    private mutating func goOn(_ batch: String) async throws {
        let limit = pick([1, 2, 100])
        let reply = try await call("open_batch", ["batch", .string(batch), "limit", .integer(Int64(limit))])
        let right = model.goOnOpening(batch, limit: limit)
        try expect(reply.int == Int64(right), "open_batch returned \(reply), expected \(right)")
        done["open again", default: 0] += 1
        try await settle()
    }

    private mutating func abandon(_ token: String, _ batch: String) async throws {
        let members = model.stages[token]?.tasks.map(\.id) ?? []
        var deleted = 0
        var last = 0
        repeat {
            let arguments: [RedisArgument] = ["batch", .string(batch), "stage", .string(token), "limit", "2"]
            last = Int(try await call("abandon_batch", arguments).int ?? -1)
            deleted += last
        } while last > 0
        try expect(deleted == members.count, "abandon_batch deleted \(deleted) of \(members.count)")
        gone += members.filter { model.tasks[$0] == nil }
        model.stages[token] = nil
    }
}
