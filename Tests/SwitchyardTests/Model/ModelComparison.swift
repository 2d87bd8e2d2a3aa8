import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Redis against the model.
extension ModelRun {
    private static let fields =
        [
            "state", "held_by", "attempt", "worker", "retry_count", "deliveries", "deps_left", "place", "priority",
            "batch",
            "request", "result", "exit_code", "outcome", "payload",
        ] + (2...9).map { "payload.\($0)" }

    /// What the hash of a task should say.
    private func expected(_ task: ModelTask) -> [String?] {
        let isWaiting = task.heldBy == "dependencies"
        return [
            task.state.rawValue, task.heldBy, "\(task.attempt)", task.worker, "\(task.retryCount)",
            "\(task.deliveries)", isWaiting ? "\(task.dependenciesLeft)" : nil, "\(Int64(task.place))",
            task.priority.rawValue, task.batch, task.request, task.result, task.exitCode, task.outcome,
        ] + pieces(of: task.payload)
    }

    /// As it stands in the hash, in the first of nine fields or in several of them: a payload that is not short, and not long.
    private func pieces(of payload: String?) -> [String?] {
        var pieces: [String?] = [payload]
        if let payload, payload.count > ModelSettings.shortValue, payload.count <= 512 {
            pieces = stride(from: 0, to: payload.count, by: ModelSettings.shortValue).map {
                String(payload.dropFirst($0).prefix(ModelSettings.shortValue))
            }
        }
        return pieces + Array(repeating: nil, count: 9 - pieces.count)
    }

    private func differences(_ task: ModelTask, _ found: [String?]) -> [String] {
        let expected = expected(task)
        return Self.fields.indices.compactMap { index in
            let name = Self.fields[index]
            // A worker is named after the end too, and counters are absent at 0.
            if name == "worker", !task.isLive, task.state != .pending { return nil }
            if name == "deps_left", task.heldBy != "dependencies" { return nil }
            let isCounter = ["attempt", "retry_count", "deliveries"].contains(name)
            let value = found[index] ?? (isCounter ? "0" : nil)
            if value == expected[index] { return nil }
            return "task \(task.id): \(name) is \(value ?? "absent"), expected \(expected[index] ?? "absent")"
        }
    }

    /// The tasks that the operation changed, and with `all` every one that has not ended, in one round trip.
    mutating func compareOpen(all: Bool) async throws {
        let open = model.tasks.values.filter { all ? !$0.state.isTerminal : compared[$0.id] != $0 }
        compared = model.tasks
        let replies = try await queue.redis.client.pipeline(
            open.map { task in
                let names = Self.fields.map { RedisArgument.string($0) }
                return RedisCommand("HMGET", [.string(queue.keys.prefix + "task:" + task.id)] + names)
            })
        var found: [String] = []
        for (task, reply) in zip(open, replies) {
            found += differences(task, (reply.array ?? []).map(\.string))
        }
        if !found.isEmpty { throw Disagreement(sentences: found) }
    }

    /// Everything: each task, the indexes among themselves, reservations, keys, counters and tags.
    mutating func compareAll() async throws {
        let snapshot = try await Snapshot(reading: queue.keys, client: queue.redis.client)
        try check(snapshot)
        var found: [String] = []
        for id in Set(snapshot.taskIDs).symmetricDifference(model.tasks.keys).sorted() {
            found.append("task \(id) is only in one of them")
        }
        for task in model.tasks.values {
            let fields = snapshot.task(task.id)
            found += differences(task, Self.fields.map { fields[$0] })
        }
        let stats = snapshot.hash("stats")
        for name in ["completed", "failed", "timeout", "cancelled", "retries", "lost", "repaired", "queue_full_errors"]
        {
            let count = Int(stats[name] ?? "0") ?? -1
            let right = model.counts[name] ?? 0
            if count != right { found.append("stats: \(name) is \(count), expected \(right)") }
        }
        let reserved = snapshot.hash("reserved")
        if reserved != model.reserved { found.append("reserved is \(reserved), expected \(model.reserved)") }
        let keys = Dictionary(
            uniqueKeysWithValues: snapshot.ids("unique:").map { ($0, snapshot.string("unique:" + $0) ?? "") })
        let rightKeys = model.unique.mapValues(\.id)
        if keys != rightKeys { found.append("the unique keys are \(keys), expected \(rightKeys)") }
        found += tagDifferences(snapshot)
        if !found.isEmpty { throw Disagreement(sentences: found.sorted()) }
    }

    /// Everything that must hold between the keys. Who registered again with fewer slots keeps what it holds.
    private func check(_ snapshot: Snapshot) throws {
        let overfull = model.workers.values.filter { model.held(by: $0.id).count > $0.slots }
        let violations = snapshot.violations.filter { violation in
            !overfull.contains { violation.hasPrefix("worker \($0.id) holds ") }
        }
        if !violations.isEmpty { throw SnapshotViolations(queue: queue.name, violations: violations) }
    }

    private mutating func tagDifferences(_ snapshot: Snapshot) -> [String] {
        var found: [String] = []
        for priority in model.settings.isFair ? TaskPriority.allCases : [] {
            let fair = snapshot.hash("fair:" + priority.rawValue)
            let virtual = fair["v"].flatMap(Double.init)
            if let right = model.virtualTime[priority], virtual != right {
                found.append("virtual time of \(priority.rawValue) is \(virtual ?? -1), expected \(right)")
            }
            for (key, tag) in model.finishTags[priority] ?? [:] {
                // One that is past may have been forgotten.
                let kept = fair["f:" + key].flatMap(Double.init)
                if kept != tag, kept != nil || tag > virtual ?? 0 {
                    found.append("the finish tag of \(key) is \(kept ?? -1), expected \(tag)")
                }
            }
        }
        return found
    }

    /// Makes room: ended tasks that nothing depends on any more are forgotten on both sides.
    mutating func purgeEnded() async throws {
        let needed = Set(model.tasks.values.filter { !$0.state.isTerminal }.flatMap(\.dependencies))
        let ended = ids { $0.state.isTerminal && !needed.contains($0.id) }
        guard !ended.isEmpty else { return }
        let reply = try await call("purge", ended.flatMap { ["task", .string($0)] as [RedisArgument] })
        for (id, answer) in zip(ended, reply.array ?? []) {
            try expect(answer.string == "purged", "purge of \(id) answered \(answer)")
            model.tasks[id] = nil
        }
    }
}
