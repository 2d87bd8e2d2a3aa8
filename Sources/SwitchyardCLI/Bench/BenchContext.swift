import Logging
import RedisClient
import Switchyard

/// What a measurement works with: a Redis with nothing in its queue, how much to measure, and how to say what it does.
struct BenchContext: Sendable {
    let redis: BenchRedis
    let queue: String
    let plan: BenchPlan
    let logger: Logger
    /// Progress, for those who wait.
    let say: @Sendable (String) -> Void

    var client: RedisClient { redis.client }

    func load(perCall: Int, callers: Int? = nil) throws -> BenchLoad {
        // As many tasks on their way at once, whatever the size of a call; two callers, so that Redis always has work.
        let fitting = max(plan.concurrency / perCall, min(plan.concurrency, 2))
        return try BenchLoad(
            client: client, queue: queue, perCall: perCall, callers: callers ?? fitting, logger: logger)
    }

    /// An empty queue with the benchmark's settings: every run meets the same Redis.
    func freshQueue() async throws {
        try await redis.empty(queue)
        try await BenchLoad.configure(SchedulerHandle(queue: queue, client: client, logger: logger))
    }

    /// Runs `body` once to warm up, then as often as planned, each on a fresh queue.
    /// - Parameter body: what it is told says whether it only warms up: then a fifth will do.
    func runs<Value>(_ what: String, _ body: (_ isWarmUp: Bool) async throws -> Value) async throws -> [Value] {
        var values: [Value] = []
        for run in 0...plan.runs {
            say(what + (run == 0 ? ": warm-up" : ": run \(run) of \(plan.runs)"))
            try await freshQueue()
            let value = try await body(run == 0)
            if run > 0 { values.append(value) }
        }
        return values
    }

    /// How many of `count` a run handles.
    func share(of count: Int, isWarmUp: Bool) -> Int { max(1, isWarmUp ? count / 5 : count) }
}
