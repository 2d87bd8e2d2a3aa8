import RedisClient
import Switchyard
import SwitchyardTesting

extension Event {
    /// Causes the event for task `t`, whose latest attempt is `attempt`, leased to `holder` if to any worker.
    /// - Returns: The reply about the task; null if the call does not name it.
    func cause(_ queue: TestQueue, attempt: Int) async throws -> RESPValue {
        let holder = TestQueue.holder
        let mine: [RedisArgument] = [
            "worker", .string(holder), "task", "t", "attempt", .integer(Int64(max(attempt, 1))),
        ]
        switch self {
        case .submit:
            return try await queue.call("submit", "task", "t", "request", "another")
        case .pull:
            return try await queue.call("pull", "worker", .string(holder))
        case .pullAndStart:
            return try await queue.call("pull", "worker", .string(holder), "start", "1")
        case .start: return try await first(queue.call("start", mine))
        case .heartbeat: return try await queue.call("heartbeat", mine)
        case .finishCompleted: return try await first(queue.call("finish", mine + ["outcome", "completed"])[0])
        case .finishFailed: return try await first(queue.call("finish", mine + ["outcome", "failed"])[0])
        case .finishFailedForGood:
            return try await first(queue.call("finish", mine + ["outcome", "failed", "retryable", "0"])[0])
        case .finishTimeout: return try await first(queue.call("finish", mine + ["outcome", "timeout"])[0])
        case .earlierAttemptFinished:
            return try await queue.finish(holder, "t", attempt: max(attempt - 1, 1), "completed")
        case .strangerFinished:
            return try await queue.finish("stranger", "t", attempt: max(attempt, 1), "completed")
        case .leaseExpired:
            try await queue.expireLease(of: "t")
        case .timeLimitReached:
            // Longer than the default time limit of two hours. The worker and its unstarted attempts stay alive.
            try await queue.age(by: .seconds(7201))
            try await queue.renewAllButRunning()
        case .workerLost: try await queue.missHeartbeats(of: holder)
        case .due: try await queue.raw("ZADD", "{}held", "XX", "1", "t")
        case .deregister: return try await queue.call("deregister", "worker", .string(holder))
        case .release: return try await first(queue.call("release", mine))
        case .log: return try await queue.call("log", mine + ["stdout", "a line"])
        case .cancel: return try await first(queue.call("cancel", "task", "t"))
        case .retry: return try await first(queue.call("retry", "task", "t"))
        case .purge: return try await first(queue.call("purge", "task", "t"))
        }
        try await queue.tick()
        return .null
    }

    /// Keys that the event may change although the task does not change: the worker's own registration, and the log of
    /// a live attempt.
    var ownChanges: Set<String> {
        let holder = TestQueue.holder
        switch self {
        case .pull, .pullAndStart: return ["attempts:\(holder) @state", "wake:" + holder, "idle"]
        case .heartbeat: return ["workers \(holder)", "leases t"]
        case .workerLost, .deregister:
            return [
                "worker:" + holder, "wake:" + holder, "attempts:" + holder, "workers", "idle", "stats slots",
            ]
        case .log: return ["log:t", "logs t", "stats log_bytes", "task:t log_bytes"]
        default: return []
        }
    }

    private func first(_ reply: RESPValue?) -> RESPValue { reply?.array?.first ?? .null }
}

extension RESPValue {
    subscript(index: Int) -> RESPValue? {
        array.flatMap { $0.indices.contains(index) ? $0[index] : nil }
    }
}

extension TestQueue {
    /// After time has passed: workers have sent heartbeats all the time, and assignments are recent.
    func renewAllButRunning() async throws {
        let snapshot = try await Snapshot(reading: keys, client: redis.client)
        for worker in snapshot.ids("worker:") {
            try await call("heartbeat", "worker", .string(worker))
        }
        for id in snapshot.taskIDs where snapshot.state(id) == .assigned {
            try await raw("ZADD", "{}leases", "XX", "9999999999999", id)
        }
        for id in snapshot.sortedSet("held").keys {
            try await raw("ZADD", "{}held", "XX", "9999999999999", id)
            try await raw("HSET", "{}task:" + id, "due_at", "9999999999999")
        }
    }
}
