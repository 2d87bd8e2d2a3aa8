import PrivateRedis
import RedisClient
import Switchyard
import SwitchyardTesting

/// Measures the cost of a task on one redis-server, on two, and on the three primaries of a Redis Cluster, and how the
/// tasks are distributed.
///
/// It reports no rates: the total throughput of several servers takes more cores than a small machine has.
struct PartitionsMeasurement: Sendable {
    let context: BenchContext

    private struct Run: Sendable {
        /// Redis µs per task, on one server and on several.
        var alone, spread: Double
        /// Each partition's share of the tasks.
        var shares: [Double]

        init(_ alone: SpreadLoad.Result, _ spread: SpreadLoad.Result) {
            self.alone = alone.cpuMicroseconds
            self.spread = spread.cpuMicroseconds
            let tasks = spread.tasks.reduce(0, +)
            shares = spread.tasks.map { Double($0) / Double(max(tasks, 1)) }
        }
    }

    func run() async throws -> [Figure] {
        do {
            var figures = try await twoServers("single", "a call per task", perCall: 1)
            figures += try await twoServers("batch_100", "batches of 100", perCall: 100)
            figures += try await cluster("single", "a call per task", perCall: 1)
            return try await figures + cluster("batch_100", "batches of 100", perCall: 100)
        } catch PrivateRedisError.executableMissing(let name) {
            // With --redis, this machine may have no redis-server.
            context.say("skipped: \(name) is not installed")
            return []
        }
    }

    private func twoServers(_ name: String, _ label: String, perCall: Int) async throws -> [Figure] {
        let runs = try await context.runs("one server and two, \(label)") { isWarmUp in
            let tasks = context.share(of: context.plan.tasks, isWarmUp: isWarmUp)
            let alone = try await withServers(1) { try await load(Partitions($0[0].client), tasks, perCall) }
            let spread = try await withServers(2) {
                try await load(Partitions(on: $0.map(\.client)), tasks, perCall)
            }
            return Run(alone, spread)
        }
        return [
            Figure(
                ["partitions", name, "alone_us"], "on one server, \(label)", .microseconds, runs.map(\.alone),
                floor: .call),
            Figure(
                ["partitions", name, "spread_us"], "on two servers, \(label)", .microseconds, runs.map(\.spread),
                floor: .call, note: "a task, on either server"),
            Figure(
                ["partitions", name, "share"], "tasks on the first of two servers, \(label)", .share,
                runs.map { $0.shares[0] }),
        ]
    }

    /// Four partitions on three primaries, against one server that is reached in the same way, over TCP. Each server
    /// has the same load: a busy server reads more calls from its sockets at once than an idle one.
    private func cluster(_ name: String, _ label: String, perCall: Int) async throws -> [Figure] {
        let runs = try await context.runs("one server and a Cluster, \(label)") { isWarmUp in
            let tasks = context.share(of: context.plan.tasks, isWarmUp: isWarmUp)
            let alone = try await withCluster(primaries: 1) { try await load(Partitions($0), tasks, perCall) }
            let spread = try await withCluster(primaries: 3) {
                try await load(Partitions(on: [$0], count: 4), tasks * 3, perCall, times: 3)
            }
            return Run(alone, spread)
        }
        let path = ["partitions", "cluster_" + name]
        return [
            Figure(
                path + ["alone_us"], "on one server over TCP, \(label)", .microseconds, runs.map(\.alone),
                floor: .call),
            Figure(
                path + ["spread_us"], "on three primaries, \(label)", .microseconds, runs.map(\.spread), floor: .call,
                note: "a task, in one of four partitions"),
            Figure(
                path + ["largest_share"], "tasks in the largest of four partitions, \(label)", .share,
                runs.map { $0.shares.max() ?? 0 }),
            Figure(
                path + ["smallest_share"], "tasks in the smallest of four partitions, \(label)", .share,
                runs.map { $0.shares.min() ?? 0 }),
        ]
    }

    /// - Parameter times: how many times as many callers and workers there are as for one server.
    private func load(
        _ partitions: Partitions, _ tasks: Int, _ perCall: Int, times: Int = 1
    ) async throws -> SpreadLoad.Result {
        var load = SpreadLoad(partitions, perCall: perCall)
        load.callers *= times
        load.workers *= times
        return try await load.run(tasks: tasks, queue: context.queue, logger: context.logger)
    }

    private func withCluster<Value>(
        primaries: Int, _ body: (RedisClient) async throws -> Value
    ) async throws -> Value {
        // As the private servers of the other measurements.
        let farm = try await ClusterFarm.start(
            primaries: primaries, replicas: 0,
            arguments: ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"])
        let result: Result<Value, any Error>
        do {
            let client = try farm.makeClient()
            do {
                try await FunctionLibrary(client: client, logger: context.logger).ensureLoaded()
                result = .success(try await body(client))
            } catch {
                result = .failure(error)
            }
            await client.shutdown()
        } catch {
            result = .failure(error)
        }
        await farm.stop()
        return try result.get()
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
