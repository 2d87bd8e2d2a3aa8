import PrivateRedis
import RedisClient
import Switchyard

/// Measures the cost of a task on one redis-server and on two, and how the tasks are distributed over two.
///
/// It reports no rates: the total throughput of two servers takes more cores than a small machine has.
struct PartitionsMeasurement: Sendable {
    let context: BenchContext

    private struct Run: Sendable {
        /// Redis µs per task, on one server and on two.
        var alone, each: Double
        /// The first server's share of the tasks, of two.
        var share: Double
    }

    func run() async throws -> [Figure] {
        do {
            let single = try await figures("single", "a call per task", perCall: 1)
            return try await single + figures("batch_100", "batches of 100", perCall: 100)
        } catch PrivateRedisError.executableMissing(let name) {
            // With --redis, this machine may have no redis-server.
            context.say("skipped: \(name) is not installed")
            return []
        }
    }

    private func figures(_ name: String, _ label: String, perCall: Int) async throws -> [Figure] {
        let runs = try await context.runs("one server and two, \(label)") { isWarmUp in
            let tasks = context.share(of: context.plan.tasks, isWarmUp: isWarmUp)
            let alone = try await withServers(1) { try await load($0, tasks, perCall) }
            let spread = try await withServers(2) { try await load($0, tasks, perCall) }
            return Run(
                alone: alone.cpuMicroseconds, each: spread.cpuMicroseconds,
                share: Double(spread.tasks[0]) / Double(tasks))
        }
        return [
            Figure(
                ["partitions", name, "alone_us"], "on one server, \(label)", .microseconds, runs.map(\.alone),
                floor: .call),
            Figure(
                ["partitions", name, "spread_us"], "on two servers, \(label)", .microseconds, runs.map(\.each),
                floor: .call, note: "a task, on either server"),
            Figure(
                ["partitions", name, "share"], "tasks on the first of two servers, \(label)", .share,
                runs.map(\.share)),
        ]
    }

    private func load(_ servers: [BenchRedis], _ tasks: Int, _ perCall: Int) async throws -> SpreadLoad.Result {
        try await SpreadLoad(Partitions(on: servers.map(\.client)), perCall: perCall)
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
