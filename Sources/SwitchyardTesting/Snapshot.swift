import NIOCore
import RedisClient
import Switchyard

/// A copy of all keys of a queue, byte for byte, with checks of the invariants between them.
///
/// Reading takes a scan and a few pipelines. It is not atomic: nothing may change the queue meanwhile.
package struct Snapshot: Sendable, Equatable {
    /// The value of one key, by its type in Redis.
    package enum Content: Sendable, Equatable {
        case hash([String: ByteBuffer])
        case sortedSet([String: Double])
        case list([ByteBuffer])
        case set(Set<String>)
        /// `expires`: whether the key has a time to live.
        case string(ByteBuffer, expires: Bool)
        /// Entry ids with the fields of each entry.
        case stream([RESPValue])
        /// A type that no key of a queue has.
        case other(String)
    }

    /// The names of the queue's keys.
    package let keys: Keys
    /// The value of each key, by the key's name without the queue's prefix.
    package let contents: [String: Content]
    /// The hashes as text; of a long value only its first 64 KiB.
    private let texts: [String: [String: String]]
    /// Strings, task hashes and batch hashes that have a time to live.
    let expiring: Set<String>
    /// The names of the lanes' sorted sets, `pending:<lane>`.
    let lines: [String]
    let workersWithAttempts: [String]
    /// The ids of all tasks, sorted.
    package let taskIDs: [String]
    /// The ids of purged tasks whose attempt number is still kept.
    package let tombstones: [String]
    /// For each id in an index of tasks, the names of these indexes.
    let standing: [String: [String]]
    /// For each task with a lease, the lease's text by worker.
    let holders: [String: [String: String]]

    /// Reads all keys of a queue.
    /// - Throws: The first error that a command returned.
    package init(reading keys: Keys, client: RedisClient) async throws {
        let client = try await client.primary(of: keys.prefix)
        self.keys = keys
        let names = try await Self.scan(keys.prefix, client)
        let types = try await Self.send(names.map { RedisCommand("TYPE", .string($0)) }, client)
        let replies = try await Self.send(
            zip(names, types).map { name, type in
                let key = RedisArgument.string(name)
                switch type.string {
                case "hash": return RedisCommand("HGETALL", key)
                case "zset": return RedisCommand("ZRANGE", key, 0, -1, "WITHSCORES")
                case "list": return RedisCommand("LRANGE", key, 0, -1)
                case "stream": return RedisCommand("XRANGE", key, "-", "+")
                case "set": return RedisCommand("SMEMBERS", key)
                case "string": return RedisCommand("GET", key)
                default: return RedisCommand("TYPE", key)
                }
            }, client)
        let timed = zip(names, types).filter { name, type in
            type.string == "string" || name.hasPrefix(keys.prefix + "task:") || name.hasPrefix(keys.prefix + "batch:")
        }.map(\.0)
        let timesToLive = try await Self.send(timed.map { RedisCommand("PTTL", .string($0)) }, client)
        let expiring = Set(zip(timed, timesToLive).filter { ($0.1.int ?? -1) >= 0 }.map(\.0))
        // Keys that expired while they were read.
        let expired = Set(zip(timed, timesToLive).filter { $0.1.int == -2 }.map(\.0))
        var contents: [String: Content] = [:]
        for ((name, type), reply) in zip(zip(names, types), replies) {
            if let error = reply.error { throw error }
            if type.string == "none" || expired.contains(name) { continue }
            if type.string == "string", reply.bytes == nil { continue }
            contents[String(name.dropFirst(keys.prefix.count))] = Self.content(
                type.string ?? "", reply, expires: expiring.contains(name))
        }
        self.contents = contents
        self.expiring = Set(expiring.map { String($0.dropFirst(keys.prefix.count)) })
        texts = contents.compactMapValues { content in
            guard case .hash(let fields) = content else { return nil }
            return fields.mapValues { String(decoding: $0.readableBytesView.prefix(1 << 16), as: UTF8.self) }
        }
        let ids = contents.keys.filter { $0.hasPrefix("task:") }.map { String($0.dropFirst(5)) }.sorted()
        let texts = texts
        tombstones = ids.filter { texts["task:" + $0]?["state"] == "purged" }
        taskIDs = ids.filter { texts["task:" + $0]?["state"] != "purged" }
        lines = contents.keys.filter { $0.hasPrefix("pending:") }.sorted()
        var standing: [String: [String]] = [:]
        for index in Self.indexes + lines {
            guard case .sortedSet(let scores)? = contents[index] else { continue }
            for id in scores.keys { standing[id, default: []].append(index) }
        }
        self.standing = standing
        workersWithAttempts = contents.keys.filter { $0.hasPrefix("attempts:") }.map { String($0.dropFirst(9)) }
            .sorted()
        var holders: [String: [String: String]] = [:]
        for worker in workersWithAttempts {
            for (id, entry) in texts["attempts:" + worker] ?? [:] where !id.hasPrefix("@") {
                holders[id, default: [:]][worker] = entry
            }
        }
        self.holders = holders
    }

    /// Sends commands in pipelines of a bounded size: a client refuses more than 100,000 at once.
    private static func send(_ commands: [RedisCommand], _ client: RedisClient) async throws -> [RESPValue] {
        var replies: [RESPValue] = []
        for start in stride(from: 0, to: commands.count, by: 10_000) {
            replies += try await client.pipeline(Array(commands[start..<min(start + 10_000, commands.count)]))
        }
        return replies
    }

    private static func scan(_ prefix: String, _ client: RedisClient) async throws -> [String] {
        // A queue's name contains no character with a meaning in a glob pattern, and Redis takes braces literally.
        var names: Set<String> = []
        var cursor = "0"
        repeat {
            let page = try await client.send(
                RedisCommand("SCAN", .string(cursor), "MATCH", .string(prefix + "*"), "COUNT", "2000"))
            cursor = page.array?.first?.string ?? "0"
            names.formUnion((page.array?.last?.array ?? []).compactMap(\.string))
        } while cursor != "0"
        return names.sorted()
    }

    private static func content(_ type: String, _ reply: RESPValue, expires: Bool) -> Content {
        let values = reply.array ?? []
        func pairs<Value>(_ transform: (RESPValue) -> Value) -> [String: Value] {
            var result: [String: Value] = [:]
            for index in stride(from: 0, to: values.count - 1, by: 2) {
                result[values[index].string ?? ""] = transform(values[index + 1])
            }
            return result
        }
        switch type {
        case "hash": return .hash(pairs { $0.bytes ?? ByteBuffer() })
        case "zset": return .sortedSet(pairs { $0.string.flatMap(Double.init) ?? .nan })
        case "set": return .set(Set(values.compactMap(\.string)))
        case "string": return .string(reply.bytes ?? ByteBuffer(), expires: expires)
        case "list": return .list(values.map { $0.bytes ?? ByteBuffer() })
        case "stream": return .stream(values)
        default: return .other(type)
        }
    }
}

// MARK: Reading

extension Snapshot {
    /// Returns the fields of a hash as text, of a long value only its first 64 KiB; empty if there is no such hash.
    package func hash(_ name: String) -> [String: String] { texts[name] ?? [:] }

    /// Returns the members of a sorted set with their scores; empty if there is no such set.
    package func sortedSet(_ name: String) -> [String: Double] {
        guard case .sortedSet(let scores)? = contents[name] else { return [:] }
        return scores
    }

    /// Returns the length of a list; 0 if there is no such list.
    package func listCount(_ name: String) -> Int {
        guard case .list(let values)? = contents[name] else { return 0 }
        return values.count
    }

    /// Returns the elements of a list as text; empty if there is no such list.
    package func list(_ name: String) -> [String] {
        guard case .list(let values)? = contents[name] else { return [] }
        return values.map { String(buffer: $0) }
    }

    /// Returns the members of a set; empty if there is no such set.
    package func set(_ name: String) -> Set<String> {
        guard case .set(let members)? = contents[name] else { return [] }
        return members
    }

    /// Returns the value of a string as text; nil if there is no such string.
    package func string(_ name: String) -> String? {
        guard case .string(let value, _)? = contents[name] else { return nil }
        return String(buffer: value)
    }

    /// Returns the fields of a task's hash; empty if there is no such task.
    package func task(_ id: String) -> [String: String] { hash("task:" + id) }

    /// Returns whether the task exists. The tombstone of a purged task does not count.
    package func hasTask(_ id: String) -> Bool {
        contents["task:" + id] != nil && task(id)["state"] != "purged"
    }

    /// Returns the state of a task, or nil if there is no such task.
    package func state(_ id: String) -> TaskState? { task(id)["state"].flatMap(TaskState.init) }

    /// Returns, sorted, the rest of the name of each key that begins with `prefix`, such as `task:`.
    package func ids(_ prefix: String) -> [String] {
        contents.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }.sorted()
    }

    /// What a tick changes always.
    private static let ofTicks: Set = ["config ticked_at", "config ticks"]

    /// Returns a line for each field, member or element that differs from `earlier`; empty if nothing differs, byte for
    /// byte. That a tick was called is no change.
    /// - Parameter ignored: Keys that may differ (`idle`), or single fields of them (`stats repaired`).
    package func changes(since earlier: Snapshot, ignoring ignored: Set<String> = []) -> [String] {
        let before = earlier.entries
        let after = entries
        return Set(before.keys).union(after.keys).sorted().compactMap { name in
            guard before[name] != after[name], !ignored.contains(name), !Self.ofTicks.contains(name) else { return nil }
            if ignored.contains(String(name.prefix { $0 != " " })) { return nil }
            return "\(name): \(Self.shown(before[name])) → \(Self.shown(after[name]))"
        }
    }

    /// All values, with an entry for each field, member and element (`key field`).
    private var entries: [String: ByteBuffer] {
        var lines: [String: ByteBuffer] = [:]
        for (name, content) in contents {
            switch content {
            case .hash(let fields):
                for (field, value) in fields { lines["\(name) \(field)"] = value }
            case .sortedSet(let scores):
                for (member, score) in scores { lines["\(name) \(member)"] = ByteBuffer(string: "\(score)") }
            case .list(let values):
                for (index, value) in values.enumerated() { lines["\(name) \(index)"] = value }
            case .stream(let entries):
                for (index, entry) in entries.enumerated() {
                    lines["\(name) \(index)"] = ByteBuffer(string: "\(entry)")
                }
            case .set(let members):
                for member in members { lines["\(name) \(member)"] = ByteBuffer(string: "member") }
            case .string(let value, _): lines[name] = value
            case .other(let type): lines[name] = ByteBuffer(string: type)
            }
        }
        return lines
    }

    /// The first 120 bytes of a value as text, for messages.
    private static func shown(_ bytes: ByteBuffer?) -> String {
        guard let bytes else { return "absent" }
        return String(decoding: bytes.readableBytesView.prefix(120), as: UTF8.self)
            + (bytes.readableBytes > 120 ? "… (\(bytes.readableBytes) bytes)" : "")
    }
}
