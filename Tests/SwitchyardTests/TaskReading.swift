import RedisClient
import SwitchyardTesting

extension TestQueue {
    /// The fields of a task that switchyard_get returns; empty if there is no such task.
    func fields(of id: String) async throws -> [String: String] {
        let reply = try await call("get", "task", .string(id))
        return (reply[0]?.pairs ?? [:]).compactMapValues { $0.string ?? $0.int.map(String.init) }
    }

    /// The state that switchyard_get returns for each of `ids`; nil if there is no such task.
    func states(of ids: [String]) async throws -> [String?] {
        let reply = try await call("get", ids.flatMap { ["task", .string($0)] as [RedisArgument] })
        return (reply.array ?? []).map { $0.pairs["state"]?.string }
    }

    /// Calls `function` for several tasks. Returns for each the text of its reply, or the code of its error.
    func outcomes(_ function: String, _ ids: [String]) async throws -> [String] {
        let reply = try await call(function, ids.flatMap { ["task", .string($0)] as [RedisArgument] })
        return (reply.array ?? []).map { $0.error?.code ?? $0.string ?? "" }
    }

    /// A number from switchyard_stats.
    func number(_ name: String) async throws -> Int {
        Int(try await call("stats").pairs[name]?.int ?? 0)
    }

    /// Runs one pass of the reconciler over the whole queue. Returns the number of entries that it repaired.
    @discardableResult
    func reconcileAll(limit: Int64 = 100) async throws -> Int {
        var cursor = ""
        var repaired: Int64 = 0
        repeat {
            let reply = try await call("reconcile", "cursor", .string(cursor), "limit", .integer(limit))
            cursor = reply[0]?.string ?? ""
            repaired += reply[1]?.int ?? 0
        } while !cursor.isEmpty
        return Int(repaired)
    }

    /// Lets time pass, one second at a time, while `workers` send heartbeats.
    func pass(_ time: Duration, heartbeats workers: [String]) async throws {
        try await age(by: time)
        for worker in workers { try await call("heartbeat", "worker", .string(worker)) }
    }
}
