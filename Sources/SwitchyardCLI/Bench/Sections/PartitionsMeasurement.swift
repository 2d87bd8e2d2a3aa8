import PrivateRedis
import RedisClient
import Switchyard

/// A queue on one redis-server, and the same spread over two: what a task costs each, and how the tasks divide. Two cores cannot
/// show what two servers do together, so no rate is given.
struct PartitionsMeasurement: Sendable {
    let context: BenchContext

    private struct Run: Sendable {
        /// Redis µs a task.
        var alone, each: Double
        /// Of the first of the two.
        var share: Double
    }

    func run() async throws -> [Figure] {
        do {
            let single = try await figures("single", "a call per task", perCall: 1)
            return try await single + figures("batch_100", "batches of 100", perCall: 100)
        } catch PrivateRedisError.executableMissing(let name) {
            // With --redis, this machine may have none.
            context.say("left out: there is no \(name)")
            return []
        }
    }

    private func figures(_ name: String, _ label: String, perCall: Int) async throws -> [Figure] {
        let runs = try await context.runs("one server and two, \(label)") { isWarmUp in
            let tasks = context.share(of: context.plan.tasks, isWarmUp: isWarmUp)
            let alone = try await withServers(1) { try await load($0, tasks, perCall) }
            let spread = try await withServers(2) { try await load($0, tasks, perCall) }
            let cost = spread.reduce(0) { $0 + $1.cpuMicroseconds * Double($1.tasks) } / Double(tasks)
            return Run(alone: alone[0].cpuMicroseconds, each: cost, share: Double(spread[0].tasks) / Double(tasks))
        }
        return [
            Figure(
                ["partitions", name, "alone_us"], "on one server, \(label)", .microseconds, runs.map(\.alone),
                floor: .call),
            Figure(
                ["partitions", name, "spread_us"], "on two servers, \(label)", .microseconds, runs.map(\.each),
                floor: .call, note: "a task, whichever of them has it"),
            Figure(
                ["partitions", name, "share"], "the first of two has", .share, runs.map(\.share), note: "of the tasks"),
        ]
    }

    private func load(_ servers: [BenchRedis], _ tasks: Int, _ perCall: Int) async throws -> [SpreadLoad.Share] {
        try await SpreadLoad(instances: servers.map(\.client), perCall: perCall)
            .run(tasks: tasks, queue: context.queue, logger: context.logger)
    }

    private func withServers<Value: Sendable>(
        _ count: Int, _ servers: [BenchRedis] = [], _ body: ([BenchRedis]) async throws -> Value
    ) async throws -> Value {
        if servers.count == count { return try await body(servers) }
        return try await BenchRedis.using(given: nil, queues: [context.queue], logger: context.logger) { server in
            try await withServers(count, servers + [server], body)
        }
    }
}
