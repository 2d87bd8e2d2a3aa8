import Logging
import NIOCore
import RedisClient
import Switchyard

/// The benchmark: which operations are measured, with how many tasks in a call, and what comes of it.
struct BenchSuite: Sendable {
    let client: RedisClient
    let queue: String
    let tasks: Int
    let runs: Int
    let concurrency: Int
    let logger: Logger
    /// Says what it does, for those who wait.
    let say: @Sendable (String) -> Void

    static let sizes = [1, 16, 100]

    struct Row: Sendable {
        var operation: String
        var perCall: Int
        var callers: Int
        var sample: BenchSample
    }

    struct Report: Sendable {
        var redisVersion: String
        var rows: [Row]
        /// µs of Redis's CPU for a pipelined PING, and for a function that does nothing.
        var pingMicroseconds: Double
        var emptyCallMicroseconds: Double
        var bytesPerPendingTask: Double
    }

    func run() async throws -> Report {
        try await FunctionLibrary(client: client, logger: logger).ensureLoaded()
        let info = try await client.send(RedisCommand("INFO", "server")).string ?? ""
        let version = info.split(whereSeparator: \.isNewline).first { $0.hasPrefix("redis_version:") }

        say("floor")
        let ping = try await floor(RedisCommand("PING"))
        let call = try await floor(RedisCommand("FCALL", "switchyard_version", 0))
        say("memory")
        let bytes = try await bytesPerPendingTask()
        var rows: [Row] = []
        for size in Self.sizes { rows += try await measure(perCall: size) }
        return Report(
            redisVersion: version.map { String($0.dropFirst("redis_version:".count)) } ?? "?", rows: rows,
            pingMicroseconds: ping, emptyCallMicroseconds: call, bytesPerPendingTask: bytes)
    }

    private func load(perCall: Int) async throws -> BenchLoad {
        let load = try BenchLoad(
            client: client, queue: queue, perCall: perCall, concurrency: concurrency, logger: logger)
        try await load.prepare()
        guard try await load.liveTasks() == 0 else {
            throw Failure(.error, "queue \(queue) has tasks that have not ended; the benchmark needs it empty")
        }
        return load
    }

    /// What a call costs Redis at the least.
    private func floor(_ command: RedisCommand) async throws -> Double {
        let commands = Array(repeating: command, count: 100)
        let rounds = max(tasks / commands.count, 10)
        var samples: [BenchSample] = []
        for _ in 0..<runs {
            samples.append(
                try await BenchSample.measure(client, count: rounds * commands.count) {
                    for _ in 0..<rounds { _ = try await client.pipeline(commands) }
                })
        }
        return BenchSample.median(samples).cpuMicroseconds
    }

    private func bytesPerPendingTask() async throws -> Double {
        let load = try await load(perCall: 100)
        let before = try await RedisUsage.read(client).memoryBytes
        try await load.submit(tasks)
        let after = try await RedisUsage.read(client).memoryBytes
        try await load.finishAll(try await load.pull(tasks, by: try await load.register(holding: tasks)))
        try await forget()
        return (after - before) / Double(tasks)
    }

    private func measure(perCall: Int) async throws -> [Row] {
        var submit: [BenchSample] = []
        var pull: [BenchSample] = []
        var finish: [BenchSample] = []
        var life: [BenchSample] = []
        let load = try await load(perCall: perCall)
        for run in 1...runs {
            say("\(perCall) per call, run \(run) of \(runs)")
            // One: submitted, then pulled and held.
            try await load.submit(tasks)
            let holders = try await load.register(holding: tasks)
            var held: [[BenchLoad.Holder]] = []
            pull.append(
                try await BenchSample.measure(client, count: tasks) { held = try await load.pull(tasks, by: holders) })
            try await load.finishAll(held)
            try await forget()

            // Two: the whole life, as busy workers live it: each call reports and takes the next.
            let submitting = try await BenchSample.measure(client, count: tasks) { try await load.submit(tasks) }
            let workers = try await load.register(holding: load.callers)
            let finishing = try await BenchSample.measure(client, count: tasks) {
                let first = try await load.pull(load.callers * perCall, by: workers)
                try await load.finishAndPull(tasks, by: first)
            }
            submit.append(submitting)
            finish.append(finishing)
            life.append(submitting + finishing)
            try await load.finishAll(workers)
            try await forget()
        }
        let named = [("submit", submit), ("pull, start", pull), ("finish + pull", finish), ("whole life", life)]
        return named.map { name, samples in
            Row(operation: name, perCall: perCall, callers: load.callers, sample: BenchSample.median(samples))
        }
    }

    /// Deletes the ended tasks, so that every run meets the same Redis.
    private func forget() async throws {
        let functions = QueueFunctions(queue: queue, client: client, logger: logger)
        try await SchedulerHandle(queue: queue, client: client, logger: logger).configure([
            ("retention_ms", 0), ("cleanup_interval_ms", 0),
        ])
        // A tick deletes up to its limit; it says so.
        for _ in 0..<(tasks / 100 + 100) {
            let reply = try await functions.call("tick", ["limit", 1000, "cleanup", "1"]).array ?? []
            let more = reply.firstIndex { $0.string == "more" }.flatMap {
                reply.indices.contains($0 + 1) ? reply[$0 + 1] : nil
            }
            if more?.string != "1" { return }
        }
        throw Failure(.error, "bench: ended tasks were not deleted")
    }
}
