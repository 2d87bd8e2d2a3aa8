import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Workers of a queue without lanes: which of them are woken, and the contents of their assignments.
extension ModelRun {
    /// Compares the sleeping workers, in the order of waking, and the wake-ups that wait for workers.
    func compareSleepers() async throws {
        let workers = model.workers.keys.sorted()
        let prefix = queue.keys.prefix
        let replies = try await queue.redis.client.pipeline(
            [RedisCommand("ZRANGE", .string(prefix + "idle"), 0, -1)]
                + workers.map { RedisCommand("LLEN", .string(prefix + "wake:" + $0)) })
        let asleep = (replies[0].array ?? []).compactMap(\.string)
        let expected = model.sleepers.map(\.id)
        try expect(asleep == expected, "asleep are \(asleep), expected \(expected)")
        for (id, reply) in zip(workers, replies.dropFirst()) {
            let right = model.workers[id]?.isWoken == true ? 1 : 0
            try expect(reply.int == Int64(right), "\(id) has \(reply) wake-ups, expected \(right)")
        }
    }

    /// Compares the reply of a pull: the right tasks in the right order, each with everything that was submitted.
    mutating func compareAssignments(
        _ reply: RESPValue, _ worker: String, max most: Int, start: Bool, holding: Int?
    ) async throws {
        try expect(reply.error == nil, "the pull got \(reply)")
        try await compare(
            reply.assignments, ModelView(), worker, max: most, start: start, holding: holding)
        for assignment in reply.array ?? [] {
            let pairs = assignment.pairs
            let id = pairs["task"]?.string ?? ""
            guard let task = model.tasks[id] else { continue }
            let started = try await queue.raw("HGET", "{}task:" + id, "started_at").string.flatMap(Int.init)
            let right = [
                "priority": task.priority.rawValue, "timeout_ms": "\(task.timeout)", "batch": task.batch,
                "payload": task.payload, "deadline_at": started.map { "\($0 + task.timeout)" },
                "retry_count": task.retryCount == 0 ? nil : "\(task.retryCount)", "state": nil, "tag": nil,
                "payload.2": nil,
            ]
            for (name, value) in right where pairs[name]?.string != value {
                if name == "retry_count", value == nil, pairs[name]?.string == "0" { continue }
                throw Disagreement(sentences: [
                    "task \(id) was handed out with \(name) \(pairs[name]?.string ?? "absent")",
                    "expected is \(value ?? "absent")",
                ])
            }
            try expect(pairs.count * 2 == assignment.array?.count, "task \(id) was handed out with a name twice")
        }
    }
}
