import Foundation
import NIOCore
import RedisClient
import SwitchyardTesting

/// Damages the keys of a queue on its own server, one value at a time, and restores them.
struct DamageBench {
    /// One value that something else writes.
    struct Damage: Sendable, CustomStringConvertible {
        var command: [RedisArgument]
        var description: String
        var isOfConfig: Bool
    }

    var queue: TestQueue

    private static let script = """
        local prefix, what = ARGV[1], ARGV[2]
        if what == 'save' then
            for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do redis.call('COPY', key, 'saved:' .. key) end
        else
            for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do redis.call('DEL', key) end
            for _, key in ipairs(redis.call('KEYS', 'saved:' .. prefix .. '*')) do
                redis.call('COPY', key, string.sub(key, 7))
            end
        end
        """

    private static let values: [[UInt8]] =
        [
            "", "x", "-1", "0", "1.5", "9223372036854775807", "99999999999999999999999999", "1e400", "nan", "inf",
            "-inf", "a\nb c:d,e|f=1", String(repeating: "X", count: 1 << 20),
        ].map { Array($0.utf8) } + [[0xFF, 0xFE, 0x00, 0x0A]]
    private static let scores = ["-1", "0", "1.5", "1e300", "inf", "-inf"]

    /// Fields that a hash may have, by the beginning of its key.
    private static let more: [String: [String]] = [
        "task:": [
            "attempt", "retry_count", "max_retries", "timeout_ms", "deliveries", "started_at", "assigned_at",
            "finished_at", "due_at", "held_by", "lane", "tag", "place", "deps_left", "fairness_weight", "batch",
            "unique_key", "unique_for_ms", "attempt:1", "payload.2", "payload.x", "exit_code", "uses", "run_at",
        ],
        "worker:": ["leaves", "draining", "cordoned_at"], "attempts:": ["@last", "nobody"],
    ]

    private func send(_ what: String) async throws {
        _ = try await queue.redis.client.send(
            RedisCommand("EVAL", .string(Self.script), 0, .string(queue.keys.prefix), .string(what)))
    }

    func save() async throws { try await send("save") }
    func restore() async throws { try await send("restore") }

    func apply(_ damage: Damage) async throws {
        var arguments = damage.command
        guard case .string(let name) = arguments.removeFirst() else { return }
        _ = try await queue.redis.client.send(RedisCommand(name, arguments))
    }

    /// All damages, of all keys.
    func damages() async throws -> [Damage] {
        let client = queue.redis.client
        let keys = try await client.send(RedisCommand("KEYS", .string(queue.keys.prefix + "*"))).array ?? []
        var damages: [Damage] = []
        for key in keys.compactMap(\.string).sorted() {
            let short = String(key.dropFirst(queue.keys.prefix.count))
            func add(_ command: [RedisArgument], _ what: String) {
                damages.append(
                    Damage(command: command, description: "\(short) \(what)", isOfConfig: short == "config"))
            }
            func shown(_ value: [UInt8]) -> String {
                value.count > 40 ? "(\(value.count) bytes)" : "\"\(String(decoding: value, as: UTF8.self))\""
            }
            let values = Self.values.map { (RedisArgument.buffer(ByteBuffer(bytes: $0)), shown($0)) }
            switch try await client.send(RedisCommand("TYPE", .string(key))).string {
            case "hash":
                var fields =
                    try await client.send(RedisCommand("HKEYS", .string(key))).array?.compactMap(\.string) ?? []
                for (start, names) in Self.more where short.hasPrefix(start) { fields += names }
                for field in Set(fields).sorted() {
                    for (value, text) in values {
                        add(["HSET", .string(key), .string(field), value], "\(field) \(text)")
                    }
                    add(["HDEL", .string(key), .string(field)], "without \(field)")
                }
            case "zset":
                let members = try await client.send(RedisCommand("ZRANGE", .string(key), 0, 4)).array ?? []
                for member in members.compactMap(\.string) {
                    for score in Self.scores {
                        add(["ZADD", .string(key), .string(score), .string(member)], "\(member) at \(score)")
                    }
                }
                for (value, text) in values { add(["ZADD", .string(key), 1, value], "with \(text)") }
            case "set": for (value, text) in values { add(["SADD", .string(key), value], "with \(text)") }
            case "list": for (value, text) in values { add(["LPUSH", .string(key), value], "with \(text)") }
            case "string": for (value, text) in values { add(["SET", .string(key), value, "KEEPTTL"], "is \(text)") }
            default:
                add(["XADD", .string(key), "18446744073709551614-18446744073709551615", "data", "x"], "ends")
            }
        }
        return damages
    }

    // MARK: After a damage

    /// Calls everything, and returns a line for each call that failed for another reason than its arguments.
    func failures(after damage: Damage, _ some: [WrongTypeCall]) async throws -> [String] {
        var found: [String] = []
        func note(_ what: String, _ reply: RESPValue) {
            if let error = Self.failure(in: reply) { found.append("\(damage): \(what): \(error.message)") }
        }
        for (call, reply) in zip(some, try await send(some)) { note(call.text, reply) }
        let tick = WrongTypeCall("tick", "limit", "100", "cleanup", "1")
        for reply in try await send([tick, tick]) { note("tick", reply) }
        for (call, reply) in zip(Self.reads, try await send(Self.reads)) { note(call.text, reply) }
        var cursor = ""
        for piece in 0...1000 {
            let reply = try await send([WrongTypeCall("reconcile", "cursor", .string(cursor))])[0]
            note("reconcile \(cursor)", reply)
            cursor = reply.array?.first?.string ?? ""
            if cursor.isEmpty { break }
            if piece == 1000 { found.append("\(damage): the reconciler does not end") }
        }
        if !damage.isOfConfig { found += try await workFails(damage) }
        for reply in try await send([tick]) { note("the last tick", reply) }
        return found
    }

    /// Other tasks are submitted, pulled and finished.
    private func workFails(_ damage: Damage) async throws -> [String] {
        var found: [String] = []
        let start = [
            WrongTypeCall("configure", "paused", "0", "max_queue_length", "100000"),
            WrongTypeCall("register", "worker", "other", "slots", "100"), WrongTypeCall("submit", "task", "innocent"),
            WrongTypeCall("submit", "task", "limited", "concurrency_key", "other", "fairness_key", "tenant"),
        ]
        for (call, reply) in zip(start, try await send(start)) {
            if let error = Self.failure(in: reply) { found.append("\(damage): \(call.text): \(error.message)") }
        }
        for _ in 0..<20 {
            let reply = try await send([WrongTypeCall("pull", "worker", "other", "max", "50", "start", "1")])[0]
            if let error = Self.failure(in: reply) { found.append("\(damage): pull: \(error.message)") }
            if reply.array?.isEmpty != false { break }
            let reports = reply.assignments.map { task in
                WrongTypeCall(
                    "finish", "worker", "other", "task", .string(task.id), "attempt", .integer(Int64(task.attempt)),
                    "outcome", "completed")
            }
            for (call, reply) in zip(reports, try await send(reports)) {
                if let error = Self.failure(in: reply) { found.append("\(damage): \(call.text): \(error.message)") }
            }
        }
        for id in ["innocent", "limited"] {
            let state = try await queue.raw("HGET", "{}task:" + id, "state").string
            if state != "completed" { found.append("\(damage): task \(id) is \(state ?? "gone")") }
        }
        return found
    }

    private static let explained = ["plain", "big", "limited2", "rated2", "late", "waits", "c59"]
    private static let reads =
        explained.map { WrongTypeCall("explain", "task", .string($0)) } + [
            WrongTypeCall("stats"), WrongTypeCall("demand"), WrongTypeCall("workers", "cursor", "0"),
            WrongTypeCall("schedules"), WrongTypeCall("configure"), WrongTypeCall("list", "limit", "500"),
            WrongTypeCall("list", "state", "failed", "longest", "100"), WrongTypeCall("list", "batch", "B"),
            WrongTypeCall("batch", "batch", "B"),
            WrongTypeCall("get", "task", "plain", "task", "big", "task", "long", "task", "waits", "task", "c1"),
        ]

    private func send(_ calls: [WrongTypeCall]) async throws -> [RESPValue] {
        try await queue.redis.client.pipeline(
            calls.map { call in
                RedisCommand(
                    "FCALL",
                    [.string("switchyard_" + call.function), 2, .string(queue.keys.prefix), .string(queue.keys.config)]
                        + call.arguments)
            })
    }

    /// Codes with which a function refuses a call or a part of it: these are no failures.
    private static let refusals: Set = [
        "BADREQUEST", "TASKNOTFOUND", "TASKEXISTS", "INVALIDSTATE", "LEASELOST", "WORKERNOTFOUND", "QUEUEFULL",
        "NOWORKERS", "QUEUEDRAINING", "TOOLARGE",
    ]

    private static func failure(in reply: RESPValue) -> RedisError? {
        if let error = reply.error { return refusals.contains(error.code) ? nil : error }
        return reply.array?.lazy.compactMap { failure(in: $0) }.first
    }
}
