import NIOCore
import RedisClient

extension TestQueue {
    /// Makes everything in the queue older by `time`, as if nobody had called a function for so long: what is in the
    /// future comes nearer, what is past lies farther back. Tests drive time with this and ``tick(limit:)``, without
    /// sleeping. Not atomic: nobody else may use the queue meanwhile.
    public func age(by time: Duration) async throws {
        let snapshot = try await Snapshot(reading: keys, client: redis.client)
        let milliseconds = time.milliseconds
        var commands: [RedisCommand] = []
        for (name, content) in snapshot.contents {
            let key = RedisArgument.string(keys.prefix + name)
            switch content {
            case .sortedSet(let scores):
                let unit = name == "idle" ? 0 : name == "pending" ? 1000 : 1
                for (member, score) in scores where unit != 0 {
                    let older = Int64(score) - Int64(milliseconds * unit)
                    commands.append(RedisCommand("ZADD", key, .integer(older), .string(member)))
                }
            case .hash(let fields):
                for (field, older) in Self.older(fields, in: name, milliseconds) {
                    commands.append(RedisCommand("HSET", key, .string(field), .string(older)))
                }
            case .list, .stream, .other: break
            }
        }
        for case .error(let error) in try await redis.client.pipeline(commands) { throw error }
    }

    private static let times: Set = [
        "submitted_at", "run_at", "due_at", "assigned_at", "started_at", "finished_at", "registered_at", "created_at",
    ]

    /// The fields of the hash `name` that tell a time, made older.
    private static func older(
        _ fields: [String: ByteBuffer], in name: String, _ milliseconds: Int
    ) -> [(String, String)] {
        fields.compactMap { field, value in
            let text = String(buffer: value)
            if name.hasPrefix("attempts:") {
                let parts = text.split(separator: ":")
                guard parts.count == 2, let deadline = Int(parts[1]), deadline > 0 else { return nil }
                return (field, "\(parts[0]):\(deadline - milliseconds)")
            }
            guard let number = Int(text) else { return nil }
            if times.contains(field) { return (field, "\(number - milliseconds)") }
            if field == "place" { return (field, "\(number - milliseconds * 1000)") }
            return nil
        }
    }

    /// The worker has not been heard of for so long that the next tick takes it for lost.
    public func missHeartbeats(of worker: String) async throws {
        try await raw("ZADD", "{}workers", "XX", "1", worker)
    }

    /// The lease of a live attempt was not renewed; the next tick ends it.
    public func expireLease(of task: String) async throws {
        try await raw("ZADD", "{}leases", "XX", "1", task)
    }
}
