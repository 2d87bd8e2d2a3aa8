import RedisClient
import Switchyard

/// Measures the machine's floor: the least that Redis spends on a PING, on the SET of a payload, on a call of an empty
/// function, and on the smallest life of a task.
struct FloorMeasurement: Sendable {
    let context: BenchContext

    /// Redis's processor time in µs, one value for each measurement.
    struct Samples: Sendable {
        var ping: [Double] = []
        var set: [Double] = []
        var call: [Double] = []
        var callByCallers: [Double] = []
        var life: [Double] = []

        var figures: [Figure] {
            [
                Figure(["floor", "ping_us"], "PING", .microseconds, ping, note: "Redis µs, 100 in a pipeline"),
                Figure(["floor", "set_us"], "SET of the payload", .microseconds, set, floor: .ping),
                Figure(["floor", "fcall_us"], "FCALL of an empty function", .microseconds, call, floor: .ping),
                Figure(
                    ["floor", "fcall_callers_us"], "the same by many callers", .microseconds, callByCallers,
                    floor: .call,
                    note: "one call at a time each, as in the other sections: includes reading and writing sockets"),
                Figure(
                    ["floor", "life_us"], "smallest life", .microseconds, life, floor: .call,
                    note: "HSET, ZADD, ZREM, HSET, PUBLISH in one function"),
            ]
        }
    }

    static let libraryName = "switchyard_bench"
    /// The smallest life: writes a task, adds it to a sorted set, removes it, marks it completed, and publishes that.
    /// It checks nothing and keeps no lease.
    private static let library = """
        #!lua name=\(libraryName)
        redis.register_function('switchyard_bench_life', function(keys, args)
            redis.call('HSET', keys[1], 'state', 'pending', 'payload', args[1])
            redis.call('ZADD', keys[2], args[2], keys[1])
            redis.call('ZREM', keys[2], keys[1])
            redis.call('HSET', keys[1], 'state', 'completed')
            redis.call('PUBLISH', keys[2], keys[1])
        end)
        """
    private static let perPipeline = 100

    func run(into samples: inout Samples) async throws {
        let client = context.client
        let prefix = Keys(queue: context.queue).prefix + "floor:"
        _ = try await client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(Self.library)))
        samples.ping.append(try await measure { _ in RedisCommand("PING") })
        samples.set.append(
            try await measure { _ in RedisCommand("SET", .string(prefix + "set"), .string(BenchLoad.payload)) })
        samples.call.append(try await measure { _ in RedisCommand("FCALL", "switchyard_version", 0) })
        samples.callByCallers.append(try await measureByCallers(RedisCommand("FCALL", "switchyard_version", 0)))
        samples.life.append(
            try await measure { index in
                RedisCommand(
                    "FCALL", "switchyard_bench_life", 2, .string("\(prefix)\(index)"), .string(prefix + "line"),
                    .string(BenchLoad.payload), .integer(Int64(index)))
            })
        _ = try await client.send(RedisCommand("FUNCTION", "DELETE", .string(Self.libraryName)))
        try await context.redis.empty(context.queue)
    }

    private func measureByCallers(_ command: RedisCommand) async throws -> Double {
        let load = try context.load(perCall: 1)
        let count = context.plan.tasks
        return try await BenchSample.measure(context.client, count: count) {
            try await load.call(count) { _ in _ = try await load.client.send(command) }
        }.cpuMicroseconds
    }

    /// Returns the Redis µs per command, for as many commands as a run has tasks, after a tenth of them as a warm-up.
    private func measure(_ command: (_ index: Int) -> RedisCommand) async throws -> Double {
        let rounds = max(context.plan.tasks / Self.perPipeline, 1)
        let pipelines = (0..<rounds).map { round in
            (0..<Self.perPipeline).map { command(round * Self.perPipeline + $0) }
        }
        for pipeline in pipelines.prefix(max(rounds / 10, 1)) { _ = try await context.client.pipeline(pipeline) }
        return try await BenchSample.measure(context.client, count: rounds * Self.perPipeline) {
            for pipeline in pipelines {
                let replies = try await context.client.pipeline(pipeline)
                if let error = replies.lazy.compactMap(\.error).first { throw error }
            }
        }.cpuMicroseconds
    }
}
