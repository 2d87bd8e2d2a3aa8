import NIOCore
import RedisClient

extension TestQueue {
    /// Ages the queue by `time`, as if no function had been called for that long: each stored time and tag moves `time`
    /// into the past, and the remaining time to live of expiring keys shrinks by it. Tests drive time with this and
    /// ``tick(limit:cleanup:)``, without sleeping. Not atomic: nothing else may use the queue meanwhile.
    package func age(by time: Duration) async throws {
        let snapshot = try await Snapshot(reading: keys, client: redis.client)
        let milliseconds = time.milliseconds
        var commands: [RedisCommand] = []
        var expiring: [RedisArgument] = []
        for (name, content) in snapshot.contents {
            let key = RedisArgument.string(keys.prefix + name)
            switch content {
            case .sortedSet(let scores):
                let unit = Self.unit(of: name)
                for (member, score) in scores where unit != 0 {
                    // A lane that waits for the end of another task has score 0, which is no time.
                    if name == "closed", score == 0 { continue }
                    let older = Int64(score) - Int64(milliseconds * unit)
                    commands.append(RedisCommand("ZADD", key, .integer(older), .string(member)))
                }
            case .hash(let fields):
                for (field, older) in Self.older(fields, in: name, milliseconds) {
                    commands.append(RedisCommand("HSET", key, .string(field), .string(older)))
                }
                if snapshot.expiring.contains(name) { expiring.append(key) }
            case .string(let value, let expires):
                if name.hasPrefix("rate:"), let tat = Int(String(buffer: value)) {
                    commands.append(
                        RedisCommand("SET", key, .string("\(max(0, tat - milliseconds * 1000))"), "XX", "KEEPTTL"))
                } else if name.hasPrefix("unique:"), expires {
                    expiring.append(key)
                }
            case .list, .set, .stream, .other: break
            }
        }
        for key in expiring {
            let left = try await redis.client.send(RedisCommand("PTTL", key)).int ?? 0
            commands.append(RedisCommand("PEXPIRE", key, .integer(max(0, left - Int64(milliseconds)))))
        }
        for case .error(let error) in try await redis.client.pipeline(commands) { throw error }
    }

    /// Units of a score per millisecond in `index`: 1000 for tags (µs), 1 for times (ms), 0 for scores that are not
    /// times. The scores of idle workers are times too, but stay: only their order matters.
    private static func unit(of index: String) -> Int {
        switch index.prefix(while: { $0 != ":" }) {
        case "idle", "idle_pools", "lane_names", "unserved", "dependents": 0
        case "pending", "waiting", "lanes", "work", "serves", "tenants", "past_tenants": 1000
        default: 1
        }
    }

    private static let times: Set = [
        "submitted_at", "run_at", "due_at", "assigned_at", "started_at", "finished_at", "registered_at", "created_at",
    ]

    /// The fields of the hash `name` that hold a time, with values aged by `milliseconds`.
    private static func older(
        _ fields: [String: ByteBuffer], in name: String, _ milliseconds: Int
    ) -> [(String, String)] {
        fields.compactMap { field, value in
            let text = String(buffer: value)
            if name.hasPrefix("attempts:") {
                guard var entry = LeaseEntry(text), entry.deadline > 0 else { return nil }
                entry.deadline -= milliseconds
                return (field, entry.text)
            }
            if name == "reserved" || name == "stuck" {
                guard let (word, time) = Snapshot.wordAndTime(text) else { return nil }
                return (field, "\(word) \(time - milliseconds)")
            }
            if name.hasPrefix("task:"), field == "ending" {
                guard let (word, time) = Snapshot.wordAndTime(text) else { return nil }
                return (field, "\(word) \(time - milliseconds)")
            }
            guard let number = Int(text) else { return nil }
            if times.contains(field) { return (field, "\(number - milliseconds)") }
            if name.hasPrefix("schedule:"), field == "next" || field == "last" {
                return (field, "\(number - milliseconds)")
            }
            let isTag = name == "virtual_time" || ["tag", "place", "opened_at_tag"].contains(field)
            return isTag ? (field, "\(number - milliseconds * 1000)") : nil
        }
    }

    /// Makes the worker's last heartbeat so old that the next tick treats the worker as lost.
    package func missHeartbeats(of worker: String) async throws {
        try await raw("ZADD", "{}workers", "XX", "1", worker)
    }

    /// Makes the lease of a live attempt overdue; the next tick ends the attempt.
    package func expireLease(of task: String) async throws {
        try await raw("ZADD", "{}leases", "XX", "1", task)
    }
}
