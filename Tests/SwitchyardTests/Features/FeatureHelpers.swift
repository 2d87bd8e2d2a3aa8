import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Shorthands for the tests of scheduling. Each test checks the whole queue at its end (`TestQueue.run`), so it must
/// leave no reservation, no used limit and no stray key.
extension TestQueue {
    /// Registers a worker with labels, capacity and other options.
    func register(_ id: String, slots: Int = 1, _ offers: [String: String] = [:]) async throws {
        var arguments: [RedisArgument] = ["worker", .string(id), "slots", .integer(Int64(slots))]
        for (name, value) in offers.sorted(by: { $0.key < $1.key }) { arguments += [.string(name), .string(value)] }
        try await call("register", arguments)
    }

    /// Submits several tasks in one call, each with its options, with options of the call. Returns the id of the reply
    /// for each task.
    @discardableResult
    func submit(
        _ tasks: [(id: String, options: [String: String])], call: [String: String] = [:]
    ) async throws -> [String] {
        var arguments: [RedisArgument] = []
        for (name, value) in call.sorted(by: { $0.key < $1.key }) { arguments += [.string(name), .string(value)] }
        for (id, options) in tasks {
            arguments += ["task", .string(id)]
            for (name, value) in options { arguments += [.string(name), .string(value)] }
        }
        return try await self.call("submit", arguments).array?.map { $0.array?.first?.string ?? "" } ?? []
    }

    /// The ids of the tasks that `worker` pulls and starts.
    @discardableResult
    func take(_ worker: String, max: Int = 1) async throws -> [String] {
        try await pull(worker, max: max, start: true).map(\.id)
    }

    /// Ends the live attempt of a task, reported by the worker that has its lease.
    func end(_ id: String, _ outcome: String = "completed", _ options: [String: String] = [:]) async throws {
        let v = try await raw("HMGET", "{}task:" + id, "worker", "attempt").array ?? []
        try await finish(v[0].string ?? "", id, attempt: Int(v[1].int ?? 0), outcome, options)
    }

    func field(_ name: String, of id: String) async throws -> String? {
        try await raw("HGET", "{}task:" + id, name).string
    }

    func state(_ id: String) async throws -> String? { try await field("state", of: id) }

    /// The reasons that switchyard_explain returns.
    func reasons(_ id: String) async throws -> [[String: String]] {
        (try await call("explain", "task", .string(id)).array ?? []).dropFirst().map { reason in
            reason.pairs.mapValues { $0.string ?? "\($0.int ?? -1)" }
        }
    }

    /// Ticks until nothing is left to do. Returns the number of ticks.
    @discardableResult
    func tickUntilDone(cleanup: Bool = false) async throws -> Int {
        for count in 1...500 where try await !tick(cleanup: cleanup).more { return count }
        Issue.record("the ticks do not come to an end")
        return 500
    }
}

/// The ways in which an attempt ends before its task does, or with it.
enum Ending: String, CaseIterable, CustomTestStringConvertible {
    case completed, failed, retried, cancelled, timeout, leaseLost, workerLost, workerLeft, released

    var testDescription: String { rawValue }

    /// Ends the attempt of `id` on `worker`. The attempt is running, or, for `released`, assigned.
    func happen(to id: String, of worker: String, in queue: TestQueue) async throws {
        switch self {
        case .completed: try await queue.end(id)
        case .failed: try await queue.end(id, "failed", ["retryable": "0"])
        case .retried: try await queue.end(id, "failed")
        case .cancelled: try await queue.call("cancel", "task", .string(id))
        case .timeout: try await queue.end(id, "timeout")
        case .leaseLost:
            try await queue.expireLease(of: id)
            try await queue.tick()
        case .workerLost:
            try await queue.missHeartbeats(of: worker)
            try await queue.tick()
        case .workerLeft: try await queue.call("deregister", "worker", .string(worker))
        case .released:
            try await queue.call("release", "worker", .string(worker), "task", .string(id), "attempt", "1")
        }
    }
}
