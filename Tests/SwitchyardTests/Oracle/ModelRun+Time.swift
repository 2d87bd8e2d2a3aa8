import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Time that passes, and settings that change.
extension ModelRun {
    /// Ticks until nothing is left to do.
    mutating func tick() async throws {
        let cleanup = chance(50)
        var more = true
        while more {
            let reply = try await call("tick", ["limit", "1000", "cleanup", cleanup ? "1" : "0"])
            more = reply.pairs["more"]?.string == "1"
            model.tick()
            if cleanup { try await compareDeletions() }
            model.endTick()
        }
        if !isSimple { try await compareClosed(isTicked: true) }
    }

    /// Compares the ended tasks that a clean-up has deleted.
    private mutating func compareDeletions() async throws {
        let ended = ids { $0.state.isTerminal }
        let replies = try await queue.redis.client.pipeline(
            ended.map { RedisCommand("HGET", .string(queue.keys.prefix + "task:" + $0), "state") })
        let found = zip(ended, replies).filter { ($1.string ?? "purged") == "purged" }.map(\.0)
        try expectNothing(model.forgetOverdue(gone: Set(found)))
        gone += found
        if !found.isEmpty { done["delete", default: 0] += 1 }
    }

    mutating func passTime() async throws {
        let steps = pick([1, 1, 2, 3, 5])
        trace.append("\(steps * 5) minutes pass")
        try await queue.age(by: .seconds(steps * 300))
        model.age(by: steps * 300_000)
        for id in kinds.keys.sorted() where model.workers[id] != nil && chance(60) {
            var arguments: [RedisArgument] = ["worker", .string(id)]
            for task in model.held(by: id) where chance(90) || task.state == .assigned {
                arguments += ["task", .string(task.id), "attempt", .integer(Int64(task.attempt))]
            }
            guard arguments.count == 2 + 4 * model.held(by: id).count else { continue }
            try await call("heartbeat", arguments)
            model.heartbeat(id)
        }
        if chance(80) { try await tick() }
    }

    mutating func pause() async throws {
        let pauses = !model.isPaused && chance(40)
        try await call("configure", ["paused", pauses ? "1" : "0"])
        model.isPaused = pauses
        if !pauses { model.wakeForLine() }
    }

    /// Changes settings that affect existing tasks.
    mutating func changeSettings() async throws {
        switch pick([0, 1, 2, 3, 4]) {
        case 0: try await set("max_queue_length", pick([25, 50, 50, 60])) { $0.maxQueueLength = $1 }
        case 1:
            try await set("max_finished", pick([0, 0, 5, 20])) { $0.maxFinished = $1 }
            if model.settings.maxFinished > 0 { model.hasLimitedEnded = true }
        case 2: try await set("reserve_after_ms", pick([900_000, 2_100_000])) { $0.reserveAfter = $1 }
        case 3: try await set("max_deliveries", pick([2, 3, 4])) { $0.maxDeliveries = $1 }
        default: try await changeAging()
        }
    }

    private mutating func set(
        _ name: String, _ value: Int, _ change: (inout ModelSettings, Int) -> Void
    ) async throws {
        try await call("configure", [.string(name), .integer(Int64(value))])
        change(&model.settings, value)
    }

    /// Aging is part of the scores of all tasks that have not ended: it can only be changed in an empty queue.
    mutating func changeAging() async throws {
        let isEmpty = model.pendingCount == 0 && !model.tasks.values.contains(where: \.isLive)
        let aging = model.settings.aging == 0 ? 1_200_000 : 0
        let code = try await refusal("configure", ["aging_ms", .integer(Int64(aging))])
        try expect(
            code == (isEmpty ? nil : "BADREQUEST"),
            "aging was changed with \(code ?? "ok"), the queue empty: \(isEmpty)")
        if isEmpty { model.settings.aging = aging }
        done[isEmpty ? "aging changed" : "aging refused", default: 0] += 1
    }
}
