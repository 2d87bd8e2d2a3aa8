import Logging
import RedisClient
import Switchyard

/// What a measurement uses: a Redis server whose queue is empty, the plan, and a function that reports progress.
struct BenchContext: Sendable {
    let redis: BenchRedis
    let queue: String
    let plan: BenchPlan
    /// The path of `switchyard`.
    let program: String
    let logger: Logger
    /// Reports progress.
    let say: @Sendable (String) -> Void

    var client: RedisClient { redis.client }

    /// The same for another server and queue.
    func on(_ redis: BenchRedis, queue: String) -> BenchContext {
        BenchContext(redis: redis, queue: queue, plan: plan, program: program, logger: logger, say: say)
    }

    func load(perCall: Int, callers: Int? = nil) throws -> BenchLoad {
        // The number of tasks in flight is the same for every size of a call. At least two callers keep Redis busy.
        let fitting = max(plan.concurrency / perCall, min(plan.concurrency, 2))
        return try BenchLoad(
            client: client, queue: queue, perCall: perCall, callers: callers ?? fitting, logger: logger)
    }

    /// Empties and configures the queue, so that every run begins with the same state.
    func freshQueue() async throws {
        try await redis.empty(queue)
        try await BenchLoad.configure(SchedulerHandle(queue: queue, client: client, logger: logger))
    }

    /// Runs `body` once to warm up, then as often as planned, each time on a fresh queue.
    /// - Returns: the values of all runs but the warm-up.
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

    /// The number of tasks in a run: `count`, or a fifth of it for a warm-up.
    func share(of count: Int, isWarmUp: Bool) -> Int { max(1, isWarmUp ? count / 5 : count) }
}
