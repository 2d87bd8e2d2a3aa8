import PrivateRedis
import RedisClient

/// Measures the bytes of a pending and of an ended task, with Switchyard's Redis configuration and with Redis's
/// defaults.
struct MemoryMeasurement: Sendable {
    let context: BenchContext

    /// Redis's default: a hash with a value longer than 64 bytes is not stored as a listpack.
    private static let defaultArguments = ["--hash-max-listpack-value", "64"]
    /// Time in which Redis frees the buffers of idle clients.
    private static let quiet: Duration = .milliseconds(500)

    func run() async throws -> [Figure] {
        let tasks = Figure.Unit.grouped(Double(context.plan.memoryTasks))
        context.say("\(tasks) tasks")
        let ours = try await measure(context)
        let ourFigures = Self.figures("bytes_per_task", "", ours)
        context.say("\(tasks) tasks, Redis with its own settings")
        do {
            let defaults = try await BenchRedis.using(
                given: nil, arguments: Self.defaultArguments, queues: [context.queue], logger: context.logger
            ) { redis in
                try await measure(context.on(redis, queue: context.queue))
            }
            return ourFigures + Self.figures("bytes_per_task_default_redis", ", default Redis", defaults)
        } catch PrivateRedisError.executableMissing(let name) {
            // With --redis, this machine may have no redis-server.
            context.say("skipped: \(name) is not installed")
            return ourFigures
        }
    }

    private struct Bytes: Sendable {
        var pending, finished: Double
    }

    private static func figures(_ name: String, _ suffix: String, _ bytes: Bytes) -> [Figure] {
        [
            Figure([name, "pending"], "a pending task" + suffix, .bytes, [bytes.pending], floor: .payload),
            Figure([name, "finished"], "an ended task" + suffix, .bytes, [bytes.finished], floor: .payload),
        ]
    }

    private func measure(_ context: BenchContext) async throws -> Bytes {
        let load = try context.load(perCall: 100)
        let count = max(context.plan.memoryTasks, load.fewestTasks)
        try await context.freshQueue()
        let workers = try await load.register(load.callers)
        let before = try await bytes(context, depth: 0)
        try await load.submit(count)
        let pending = try await bytes(context, depth: count)
        try await load.finishAndPull(count, by: try await load.pullStarted(workers))
        let finished = try await bytes(context, depth: count)
        return Bytes(pending: (pending - before) / Double(count), finished: (finished - before) / Double(count))
    }

    private func bytes(_ context: BenchContext, depth: Int) async throws -> Double {
        try await context.settle(context.queue, depth: depth)
        try await Task.sleep(for: Self.quiet)
        return try await RedisUsage.dataBytes(context.client)
    }
}
