import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Compares Redis with the model.
extension ModelRun {
    private static let fields =
        [
            "state", "held_by", "attempt", "worker", "retry_count", "deliveries", "deps_left", "tag", "priority",
            "lane",
            "batch", "request", "result", "exit_code", "outcome", "ending", "payload",
        ] + (2...9).map { "payload.\($0)" }

    /// The values that the hash of a task must have.
    private func expected(_ task: ModelTask) -> [String?] {
        let isWaiting = task.heldBy == "dependencies"
        return [
            task.state.rawValue, task.heldBy, "\(task.attempt)", task.worker, "\(task.retryCount)",
            "\(task.deliveries)", isWaiting ? "\(task.dependenciesLeft)" : nil, "\(Int64(task.tag))",
            task.priority.rawValue, task.lane.isEmpty ? nil : task.lane, task.batch, task.request, task.result,
            task.exitCode, task.outcome, task.ending?.worker,
        ] + pieces(of: task.payload)
    }

    /// The payload as its task's hash stores it: in the first of nine fields, or, if it is of medium length, in several
    /// of them.
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
            // The hash names a worker after the end too, and lacks counters that are 0.
            if name == "worker", !task.isLive, task.state != .pending { return nil }
            if name == "deps_left", task.heldBy != "dependencies" { return nil }
            let isCounter = ["attempt", "retry_count", "deliveries"].contains(name)
            let value = found[index] ?? (isCounter ? "0" : nil)
            // The model has its own clock.
            if name == "ending", value?.prefix(while: { $0 != " " }) == expected[index]?[...] { return nil }
            if value == expected[index] { return nil }
            return "task \(task.id): \(name) is \(value ?? "absent"), expected \(expected[index] ?? "absent")"
        }
    }

    /// Compares the tasks that the operation changed, and with `all` every task that has not ended, in one round trip.
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

    /// Compares everything: each task, the indexes with each other, reservations, keys, counters and tags.
    mutating func compareAll() async throws {
        let snapshot = try await Snapshot(reading: queue.keys, client: queue.redis.client)
        try check(snapshot)
        var found: [String] = []
        let hashes = Dictionary(uniqueKeysWithValues: snapshot.ids("task:").map { ($0, snapshot.task($0)) })
        let isPurged = hashes.filter { $0.value["state"] == "purged" }
        for id in Set(hashes.keys).subtracting(isPurged.keys).symmetricDifference(model.tasks.keys).sorted() {
            found.append("task \(id) is only in one of them")
        }
        for (id, fields) in isPurged where model.tombstones[id].map({ "\($0.attempt)" }) != fields["attempt"] {
            let right = model.tombstones[id].map { "\($0.attempt)" } ?? "none"
            found.append("the purged task \(id) leaves attempt \(fields["attempt"] ?? "absent"), expected \(right)")
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
        let reserved = snapshot.hash("reserved").mapValues { String($0.prefix { $0 != " " }) }
        found += model.reservationDifferences(reserved, new: [])
        let keys = Dictionary(
            uniqueKeysWithValues: snapshot.ids("unique:").map { ($0, snapshot.string("unique:" + $0) ?? "") })
        let rightKeys = model.unique.mapValues(\.id)
        if keys != rightKeys { found.append("the unique keys are \(keys), expected \(rightKeys)") }
        found += tagDifferences(snapshot) + stageDifferences(snapshot)
        if !found.isEmpty { throw Disagreement(sentences: found.sorted()) }
        if !isSimple { try await compareClosed(isTicked: false) }
    }

    /// Checks the invariants between the keys. A worker that registered again with fewer slots may have more leases
    /// than slots.
    private func check(_ snapshot: Snapshot) throws {
        let overfull = model.workers.values.filter { model.occupying($0.id).count > $0.slots }
        // A clean-up that found an ended task with a unique key returns to it when the key expires.
        let keeping = model.tasks.values.filter { $0.uniqueFor != nil }.map {
            "task \($0.id) (completed): its score is not its finished_at"
        }
        let violations = snapshot.violations.filter { violation in
            !overfull.contains { violation.hasPrefix("worker \($0.id) holds ") } && !keeping.contains(violation)
        }
        if !violations.isEmpty { throw SnapshotViolations(queue: queue.name, violations: violations) }
    }

    private func tagDifferences(_ snapshot: Snapshot) -> [String] {
        guard isFair else { return [] }
        return TaskPriority.allCases.flatMap { priority in
            let line = snapshot.sortedSet("tenants:" + priority.rawValue)
            let past = snapshot.sortedSet("past_tenants:" + priority.rawValue)
            return model.tenants.differences(priority, line.merging(past) { max($0, $1) })
        }
    }

    private func stageDifferences(_ snapshot: Snapshot) -> [String] {
        let found = Set(snapshot.sortedSet("stages").keys)
        return found == Set(model.stages.keys)
            ? [] : ["staged are \(found.sorted()), expected \(model.stages.keys.sorted())"]
    }

    /// Compares the closed lanes with their limits.
    func compareClosed(isTicked: Bool) async throws {
        let reply = try await queue.raw("ZRANGE", "{}closed", "0", "-1", "WITHSCORES").pairs
        let closed = reply.compactMapValues { $0.string.flatMap(Double.init) }
        guard !closed.isEmpty else { return }
        let time = try await queue.raw("TIME")
        let clock = (Double(time[0]?.string ?? "") ?? 0) * 1000 + (Double(time[1]?.string ?? "") ?? 0) / 1000
        let found = model.closedDifferences(closed, clock: clock - Double(model.now), isTicked: isTicked)
        if !found.isEmpty { throw Disagreement(sentences: found) }
    }
}
