import Foundation
import RedisClient
import Switchyard

/// What is left in Redis when all tasks are deleted.
struct Remains: Sendable {
    let client: RedisClient

    /// Longer than the tombstones of deleted tasks stay, which is a minute, and the deletion itself.
    private static let patience: Duration = .seconds(180)

    /// Lets the retention of all tasks end, and waits until only the keys of the queue itself are left.
    /// - Returns: the other keys, if they are there after a long time.
    func afterDeletion(_ handle: SchedulerHandle) async throws -> [String] {
        try await handle.configure([("retention_ms", 1000)])
        let deadline = ContinuousClock.now + Self.patience
        while true {
            let left = try await names().filter { !Self.belongsToQueue($0) }
            if left.isEmpty || ContinuousClock.now > deadline { return left.sorted() }
            try await Task.sleep(for: .seconds(1))
        }
    }

    /// The names of the queue's keys, without its prefix.
    private func names() async throws -> Set<String> {
        let prefix = Keys(queue: Farm.queue).prefix
        let client = try await client.primary(of: prefix)
        var names: Set<String> = []
        var cursor = "0"
        repeat {
            let reply = try await client.send(
                RedisCommand(
                    "SCAN", .string(cursor), "MATCH", .string(prefix + "*"), "COUNT", .string("1000")))
            guard let parts = reply.array, parts.count == 2, let next = parts[0].string else {
                throw TortureError("SCAN returned \(reply)")
            }
            for name in parts[1].array ?? [] { names.insert(String((name.string ?? "").dropFirst(prefix.count))) }
            cursor = next
        } while cursor != "0"
        return names
    }

    /// The keys that a queue without tasks has: its settings and counters, and what it knows of its workers.
    private static let fixed: Set = [
        "config", "stats", "workers", "class", "classes", "cordoned", "idle", "idle_pools", "virtual_time",
    ]
    private static let ofWorkers = ["worker:", "attempts:", "idle:", "wake:"]

    private static func belongsToQueue(_ name: String) -> Bool {
        fixed.contains(name) || ofWorkers.contains { name.hasPrefix($0) }
    }
}
