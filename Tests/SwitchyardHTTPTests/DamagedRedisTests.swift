import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardHTTP

/// Something else writes into the keys of a queue whatever it likes. Every route that reads replies, with JSON or with
/// a problem that has words, and the replica lives.
///
/// A run tries some of the damages, chosen by `SWITCHYARD_TEST_SEED`; with `SWITCHYARD_TEST_INPUTS=1000000` all of
/// them. If one makes the process trap, it is the content of `switchyard-damage.txt` in the directory for temporary
/// files.
@Suite("Damaged keys, over HTTP", .serialized)
struct DamagedRedisTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let seed =
        environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 0...UInt64(UInt32.max))
    private static let tries = (environment["SWITCHYARD_TEST_INPUTS"].flatMap(Int.init) ?? 10_000) / 150

    private static let values: [ByteBuffer] =
        [
            "", "x", "-1", "0", "1.5", "9223372036854775807", "-9223372036854775808", "100000000000001", "1e400", "nan",
            "inf", "99999999999999999999999999", "a\nb\u{0}c", #"["a",1]"#, #"{"a":"#,
            String(repeating: "9", count: 1 << 20),
            String(repeating: "[", count: 100_000),
        ].map { ByteBuffer(string: $0) } + [ByteBuffer(bytes: [0xFF, 0xFE, 0, 0x0A, 0xC3, 0x28])]

    /// Fields that a hash may have, by the beginning of its key.
    private static let more = [
        "task:": [
            "attempt:1", "exit_code", "finished_at", "started_at", "assigned_at", "due_at", "run_at", "held_by",
            "progress",
            "result", "error_code", "error_message", "cpu", "memory_mb", "resources", "requires", "omitted",
        ],
        "worker:": ["cordoned_at", "note", "pid", "cpu", "memory_mb", "resources"], "schedule:": ["last"],
        "attempts:": ["@last", "nobody"], "batch:": ["finished_at", "follow_up"],
        "stats": ["retries", "lost", "repaired", "blocked", "opening", "slots", "queue_full_errors"],
    ]

    private func paths(_ world: World, _ queue: String) -> [String] {
        let known = world.routes.filter { $0.hasPrefix("GET /") }.map { String($0.dropFirst(4)) }
        return known.flatMap { route -> [String] in
            let parts = route.split(separator: "/").map(String.init)
            let tasks = ["t", "r", "d", "limited"]
            func path(_ id: String) -> String {
                "/" + parts.map { $0 == ":queue" ? queue : $0.hasPrefix(":") ? id : $0 }.joined(separator: "/")
            }
            guard route.contains("/:") else { return [path("")] }
            if route.contains("/task") { return tasks.map(path) }
            return [path(route.contains("batch") ? "b" : route.contains("schedule") ? "s" : "w1")]
        }
    }

    /// Adds tasks of several kinds, a batch, a worker, a schedule and a log.
    private func fill(_ world: World, _ queue: String) async throws {
        let worker = try await world.worker(queue)
        _ = try await world.submit(#"{"id":"r","payload":{"a":1},"resources":{"gpu":0}}"#, queue: queue)
        let held = try await worker.pull(max: 1, holding: 0)
        #expect(held.map(\.id) == ["r"])
        try await worker.log(taskID: "r", attempt: 1, [("stdout", ByteBuffer(string: "output"))])
        for body in [
            #"{"id":"t","repo":"core","args":["a"],"labels":["x"],"env":{"A":"1"},"timeout_seconds":5}"#,
            #"{"id":"d","delay_seconds":1000}"#, #"{"id":"limited","rate_key":"k","rate_per_second":0.001}"#,
        ] { _ = try await world.submit(body, queue: queue) }
        let batch = try await world.ask(
            .POST, "/scheduler/tasks?queue=\(queue)", json: #"{"batch_id":"b","tasks":[{"id":"b1"},{"id":"b2"}]}"#)
        #expect(batch.status == 201)
        let schedule = try await world.ask(
            .PUT, "/scheduler/schedule/s?queue=\(queue)", json: #"{"cron":"0 3 * * *","task":{"repo":"a"}}"#)
        #expect((200...201).contains(schedule.status))
    }

    @Test func everyRouteThatReadsReplies() async throws {
        let world = try await World.start(redis: RedisForTests.start())
        let queue = world.newQueue()
        try await fill(world, queue)
        let client = world.redis.client
        let prefix = "switchyard:{\(queue)}:"
        var hashes: [(key: String, field: String)] = []
        for key in try await world.redis.keys(of: queue).sorted() {
            guard try await client.send(RedisCommand("TYPE", .string(key))).string == "hash" else { continue }
            let short = key.dropFirst(prefix.count)
            var fields = try await client.send(RedisCommand("HKEYS", .string(key))).array?.compactMap(\.string) ?? []
            for (start, names) in Self.more where short.hasPrefix(start) { fields += names }
            hashes += Set(fields).sorted().map { (key, $0) }
        }
        var generator = SeededGenerator(seed: Self.seed)
        var damages = hashes.flatMap { hash in Self.values.map { (hash.key, hash.field, $0) } }
        damages.shuffle(using: &generator)
        let note = FileManager.default.temporaryDirectory.appending(path: "switchyard-damage.txt")
        let paths = paths(world, queue)
        for (key, field, value) in damages.prefix(Self.tries) {
            let shown = "\(key) \(field) \(String(buffer: value).prefix(40).debugDescription)"
            try Data(shown.utf8).write(to: note)
            let before = try await client.send(RedisCommand("HGET", .string(key), .string(field)))
            _ = try await client.send(RedisCommand("HSET", .string(key), .string(field), .buffer(value)))
            for path in paths where path != "/" && !path.contains("/events") {
                let answer = try await world.ask(.GET, path + "?queue=\(queue)")
                // Some routes take no queue; they are asked without it.
                let final = answer.status == 400 ? try await world.ask(.GET, path) : answer
                #expect(final.status < 500, "\(path) after \(shown): \(final.status) \(final.text.prefix(300))")
            }
            _ = try await client.send(
                before.bytes.map { RedisCommand("HSET", .string(key), .string(field), .buffer($0)) }
                    ?? RedisCommand("HDEL", .string(key), .string(field)))
        }
        try FileManager.default.removeItem(at: note)
        await world.stop()
        try await world.redis.stop()
    }

    /// The numbers with which replicas died.
    @Test(arguments: ["9223372036854775807", "-9223372036854775808", "100000000000001"])
    func aDateOutOfRangeIsLeftOut(value: String) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await fill(world, queue)
        let prefix = "switchyard:{\(queue)}:"
        let dates = [
            "submitted_at", "run_at", "due_at", "assigned_at", "started_at", "finished_at", "lease_expires_at",
        ]
        for name in dates { try await set(world, prefix + "task:t", name, value) }
        try await set(world, prefix + "schedule:s", "last", value)
        try await set(world, prefix + "worker:w1", "registered_at", value)
        try await set(world, prefix + "attempts:w1", "@last", value)
        let task = try await world.ask(.GET, "/scheduler/task/t?queue=\(queue)")
        #expect(task.status == 200)
        for name in dates { #expect(task[name].string == nil, "\(name)") }
        let list = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)")
        #expect(list.status == 200 && list["tasks"].count == 6)
        let schedules = try await world.ask(.GET, "/scheduler/schedules?queue=\(queue)")
        #expect(schedules.status == 200 && schedules["schedules"][0]["last_at"].string == nil)
        let workers = try await world.ask(.GET, "/scheduler/workers?queue=\(queue)")
        #expect(workers.status == 200 && workers["workers"][0]["registered_at"].string == nil)
        // It is in microseconds.
        let assigned = workers["workers"][0]["last_assigned_at"].string
        #expect(assigned == (value == "100000000000001" ? "1973-03-03T09:46:40.000Z" : nil))
    }

    private func set(_ world: World, _ key: String, _ field: String, _ value: String) async throws {
        _ = try await world.redis.client.send(
            RedisCommand("HSET", .string(key), .string(field), .string(value)))
    }
}
