import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// A hundred workers of ten classes and a thousand lanes. Each submission wakes exactly the sleeping workers that come
/// first in the order of their pools, and each pull returns what the model expects.
struct ModelCrowd {
    static let workers = 100
    static let lanes = 1000

    private static let classes: [(arguments: [RedisArgument], className: String)] = [
        ([], ""), (["labels", "os=linux"], "os=linux"), (["labels", "os=mac"], "os=mac"),
        (["labels", "os=linux,gpu"], "gpu,os=linux"), (["labels", "os=linux", "cpu", "2"], "os=linux,+cpu=2"),
        (["labels", "os=linux", "cpu", "8"], "os=linux,+cpu=8"), (["cpu", "4"], "+cpu=4"),
        (["labels", "os=linux,gpu", "only", "gpu"], "gpu,os=linux,!gpu"),
        (["labels", "gpu", "cpu", "4"], "gpu,+cpu=4"),
        (["labels", "os=mac,gpu"], "gpu,os=mac"),
    ]

    static let kinds = Dictionary(
        uniqueKeysWithValues: (0..<workers).map { number in
            let kind = classes[number % classes.count]
            return ("w\(number)", (slots: 1 + number % 3, arguments: kind.arguments, className: kind.className))
        })

    private static let needs: [(arguments: [RedisArgument], name: String)] = [
        ([], ""), (["requires", "os=linux"], "os=linux"), (["requires", "os=mac"], "os=mac"),
        (["requires", "gpu"], "gpu"), (["cpu", "2"], "+cpu=2"),
        (["requires", "os=linux", "cpu", "4"], "os=linux,+cpu=4"),
        (["requires", "os!=mac"], "os!=mac"),
    ]

    var run: ModelRun

    init(run: ModelRun) {
        self.run = run
        self.run.crowd = Self.kinds
    }

    mutating func start() async throws {
        for id in Self.kinds.keys.sorted() { try await run.register(id) }
    }

    mutating func step(_ number: Int) async throws {
        // Busy periods with many tasks alternate with periods in which most workers sleep.
        let isBusy = number / 500 % 2 == 0
        switch Int.random(in: 0..<100, using: &run.generator) {
        case 0..<45 where isBusy, 0..<20: try await submit()
        case 0..<50: try await pull()
        case 50..<85: try await run.finish()
        case 85..<92: try await pull()
        case 92..<95:
            try await run.cancel()
            while run.chance(75) { try await run.reportEnding() }
        case 95..<97: try await run.prioritize()
        default: try await run.tick()
        }
        try await run.compareOpen(all: number % 200 == 0)
    }

    /// Pulls as a worker that was woken, if there is one, or as any other.
    private mutating func pull() async throws {
        let woken = try await wakeUps().filter { $0.value > 0 }.keys.sorted()
        let id = woken.isEmpty || run.chance(40) ? run.worker() : run.pick(woken)
        try await run.pull(by: id, max: run.pick([1, 3]), start: true)
    }

    private func wakeUps() async throws -> [String: Int] {
        let ids = Self.kinds.keys.sorted()
        let replies = try await run.queue.redis.client.pipeline(
            ids.map { RedisCommand("LLEN", .string(run.queue.keys.prefix + "wake:" + $0)) })
        return Dictionary(uniqueKeysWithValues: zip(ids, replies.map { Int($0.int ?? 0) }))
    }

    /// Submits some tasks of one lane.
    private mutating func submit() async throws {
        let needs = run.pick(Self.needs)
        let number = Int.random(in: 0..<Self.lanes, using: &run.generator)
        let limit = run.chance(80) ? ModelLimit(key: "k\(number)", limit: 1 + number % 2) : nil
        var tasks: [ModelTask] = []
        var arguments: [RedisArgument] = []
        let priority = run.pick(TaskPriority.allCases)
        for _ in 0..<run.pick([1, 1, 2, 4]) {
            run.nextID += 1
            var task = ModelTask(id: "t\(run.nextID)")
            task.priority = priority
            task.needs = needs.name
            task.concurrency = limit
            task.timeout = ModelSettings.defaultTimeout
            task.maxRetries = 2
            arguments += ["task", .string(task.id), "priority", .string(priority.rawValue)] + needs.arguments
            if let limit {
                arguments += ["concurrency_key", .string(limit.key), "concurrency_limit", .integer(Int64(limit.limit))]
            }
            tasks.append(task)
        }
        let pools = try await ModelPools(reading: run.queue)
        let turns = limit.map { max(0, $0.limit - run.model.running($0.key)) } ?? tasks.count
        let before = try await wakeUps()
        try await run.submit(tasks, arguments)
        let isClosed = limit != nil && turns == 0
        let expected = isClosed ? [] : pools.woken(for: needs.name, min(tasks.count, turns))
        let after = try await wakeUps()
        let woken = after.filter { $0.value > before[$0.key] ?? 0 }.keys.sorted()
        try run.expect(
            woken == expected.sorted(),
            "for \(tasks.count) tasks of \(tasks[0].lane) woke \(woken), expected \(expected)")
        if !woken.isEmpty { run.done["woken", default: 0] += 1 }
    }
}

/// The pools of sleeping workers, read from Redis, and the order of waking, computed independently.
struct ModelPools {
    private struct Pool {
        let className: String
        /// The free capacity; nil: all of it.
        let room: String?
        let sleepers: [(id: String, last: Double)]

        /// The least endowed pool comes first, and of equally endowed ones that whose worker has slept for longest.
        var order: (Int, Double) {
            let tokens = className.split(separator: ",")
            let labels = tokens.filter { !$0.hasPrefix("+") && !$0.hasPrefix("!") }.count
            let left = ModelMatch.amounts(room ?? className)
            let cores = left["cpu"] ?? (left.isEmpty ? 0 : 1)
            return (labels * 64 + Int(min(63, cores)), (sleepers.map(\.last).min() ?? 0) / 1000)
        }
    }

    private var pools: [Pool] = []

    init(reading queue: TestQueue) async throws {
        let names = (try await queue.raw("ZRANGE", "{}idle_pools", "0", "-1").array ?? []).compactMap(\.string)
        for name in [""] + names {
            let reply = try await queue.raw(
                "ZRANGE", "{}idle" + (name.isEmpty ? "" : ":" + name), "0", "-1", "WITHSCORES")
            let texts = (reply.array ?? []).compactMap(\.string)
            let sleepers = stride(from: 0, to: texts.count - 1, by: 2).map { (texts[$0], Double(texts[$0 + 1]) ?? 0) }
            let parts = name.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
            pools.append(
                Pool(className: parts.first ?? "", room: parts.count > 1 ? parts[1] : nil, sleepers: sleepers))
        }
        pools.sort { $0.order < $1.order }
    }

    /// Returns the workers that are woken for `count` tasks.
    func woken(for needs: String, _ count: Int) -> [String] {
        let fitting = pools.filter { pool in
            ModelMatch.serves(pool.className, needs)
                && (pool.room.map { ModelMatch.fits(needs, in: ModelMatch.amounts($0)) } ?? true)
        }
        return Array(fitting.flatMap { $0.sleepers.map(\.id) }.prefix(count))
    }
}
