import PrivateRedis
import RedisClient
import Switchyard

/// Measures the slowest function call when very much happens at once: leases that all expire, workers that all leave,
/// ended tasks that are all deleted, a batch that is cancelled, and graphs that are submitted, run and cancelled.
///
/// Each situation has its own redis-server and a real `switchyard serve` process.
struct BoundsMeasurement: Sendable {
    let context: BenchContext

    /// Interval between two checks whether a situation is over. A check costs Redis some µs.
    private static let interval: Duration = .milliseconds(20)
    private static let slotsOfHolders = 1000

    /// Tasks in the largest situation.
    private var all: Int { context.plan.boundTasks }
    private var many: Int { max(all / 10, 1) }
    private var graph: Int { max(all / 20, 2) }

    /// The result of one situation.
    private struct Situation: Sendable {
        /// The name in the JSON.
        var name: String
        var label: String
        var log: SlowLog
    }

    func run() async throws -> [Figure] {
        do {
            var runs: [[Situation]] = []
            for run in 1...context.plan.runs {
                context.say("run \(run) of \(context.plan.runs)")
                runs.append(try await situations())
            }
            return runs[0].indices.flatMap { index in
                SlowLog.figures(runs[0][index].name, runs[0][index].label, runs.map { $0[index].log })
            }
        } catch PrivateRedisError.executableMissing(let name) {
            // With --redis, this machine may have no redis-server.
            context.say("skipped: \(name) is not installed")
            return []
        }
    }

    private func situations() async throws -> [Situation] {
        var situations = try await leases()
        situations += try await lostWorkers()
        situations += try await departures()
        situations += try await retention()
        situations += try await batch()
        for shape in BoundsGraph.Shape.allCases {
            situations += try await run(BoundsGraph(shape: shape, count: graph))
        }
        return situations
    }

    // MARK: Workers with leases

    private func leases() async throws -> [Situation] {
        try await onServer("\(Figure.Unit.grouped(Double(many))) leases expire at once") { context, label in
            let keys = Keys(queue: context.queue)
            _ = try await holders(context)
            try await makeDue(keys.leases, context)
            let log = try await watchReplica(
                context, until: { try await count("ZCOUNT", keys.leases, context, "-inf", "0") == 0 })
            return [Situation(name: "leases", label: label, log: log)]
        }
    }

    private func lostWorkers() async throws -> [Situation] {
        try await onServer("workers with \(Figure.Unit.grouped(Double(many))) tasks are lost") { context, label in
            let keys = Keys(queue: context.queue)
            _ = try await holders(context)
            try await makeDue(keys.workers, context)
            let log = try await watchReplica(
                context, until: { try await count("ZCARD", keys.workers, context) == 0 })
            return [Situation(name: "lost_workers", label: label, log: log)]
        }
    }

    private func departures() async throws -> [Situation] {
        try await onServer("workers with \(Figure.Unit.grouped(Double(many))) tasks leave") { context, label in
            let keys = Keys(queue: context.queue)
            let holders = try await holders(context)
            let log = try await watchReplica(context) {
                for link in holders { try await link.deregister() }
            } until: {
                try await count("ZCARD", keys.workers, context) == 0
            }
            return [Situation(name: "departures", label: label, log: log)]
        }
    }

    /// Submits `many` tasks, and registers workers that have pulled and started all of them.
    private func holders(_ context: BenchContext) async throws -> [WorkerClient] {
        try await context.load(perCall: SchedulerHandle.tasksPerCall, callers: 2).submit(many)
        var holders: [WorkerClient] = []
        for index in 0..<((many + Self.slotsOfHolders - 1) / Self.slotsOfHolders) {
            let link = try WorkerClient(
                worker: "bench-\(index)", queue: context.queue, client: context.client, logger: context.logger)
            _ = try await link.register(.init(slots: Self.slotsOfHolders))
            var leased = 0
            while leased < Self.slotsOfHolders {
                let pulled = try await link.pull(max: 100, holding: leased)
                if pulled.isEmpty { break }
                leased += pulled.count
            }
            holders.append(link)
        }
        return holders
    }

    /// Makes every entry of an index of times due, by setting its score to 0.
    private func makeDue(_ key: String, _ context: BenchContext) async throws {
        _ = try await context.client.send(
            RedisCommand("ZUNIONSTORE", .string(key), "1", .string(key), "WEIGHTS", "0"))
    }

    // MARK: Retention and batches

    private func retention() async throws -> [Situation] {
        try await onServer("\(Figure.Unit.grouped(Double(all))) ended tasks are deleted") { context, label in
            let load = try context.load(perCall: 100, callers: 2)
            try await context.load(perCall: SchedulerHandle.tasksPerCall, callers: 2).submit(all)
            try await load.finishAndPull(all, by: load.pullStarted(load.register(2)))
            try await load.handle.configure([("retention_ms", 0)])
            let key = Keys(queue: context.queue).finished
            let log = try await watchReplica(
                context, until: { try await count("ZCARD", key, context) == 0 })
            return [Situation(name: "retention", label: label, log: log)]
        }
    }

    private func batch() async throws -> [Situation] {
        try await onServer("a batch of \(Figure.Unit.grouped(Double(many)))") { context, label in
            let keys = Keys(queue: context.queue)
            let handle = try SchedulerHandle(queue: context.queue, client: context.client, logger: context.logger)
            return try await withReplica(context) { replica in
                let submitted = try await SlowLog.watch(context.client) {
                    let tasks = (0..<many).map { _ in QueuedTask(BenchLoad.request, priority: .normal) }
                    _ = try await handle.addTasks(tasks, batch: "bench")
                    try await wait(replica) { try await count("ZCARD", keys.pending, context) == many }
                }
                let cancelled = try await SlowLog.watch(context.client) {
                    _ = try await handle.cancelBatch("bench")
                    try await wait(replica) { try await count("ZCARD", keys.pending, context) == 0 }
                }
                return [
                    Situation(name: "batch_submitted", label: label + " is submitted", log: submitted),
                    Situation(name: "batch_cancelled", label: label + " is cancelled", log: cancelled),
                ]
            }
        }
    }

    // MARK: Graphs

    /// Submits the graph while the queue is paused, and runs it with worker processes. Then submits it again with a
    /// root that fails, which cancels all other tasks.
    private func run(_ graph: BoundsGraph) async throws -> [Situation] {
        try await onServer("a \(graph.shape) of \(Figure.Unit.grouped(Double(graph.count)))") { context, label in
            let keys = Keys(queue: context.queue)
            let handle = try SchedulerHandle(queue: context.queue, client: context.client, logger: context.logger)
            return try await withReplica(context) { replica in
                func submit(_ prefix: String) async throws {
                    _ = try await handle.addTasks(graph.tasks(prefix))
                    try await wait(replica) { try await count("ZCARD", keys.prefix + "staged", context) == 0 }
                }
                try await handle.pause()
                let submitted = try await SlowLog.watch(context.client) { try await submit("runs") }

                let workers = try await BenchChild.workers(
                    context.plan.workers.max() ?? 1, slots: context.plan.slots, context)
                let ran = try await stopping(workers) {
                    try await SlowLog.watch(context.client) {
                        try await handle.resume()
                        try await wait(workers + [replica]) {
                            try await count("HGET", keys.stats, context, "completed") == graph.count
                        }
                    }
                }

                try await submit("fails")
                let failing = try WorkerClient(
                    worker: "bench-failing", queue: context.queue, client: context.client, logger: context.logger)
                _ = try await failing.register(.init(slots: 1))
                let failed = try await SlowLog.watch(context.client) {
                    let reports = try await failing.pull(max: 1, holding: 0).map { root in
                        var report = WorkerClient.Report(taskID: root.id, attempt: root.attempt, outcome: .failed)
                        report.isRetryable = false
                        return report
                    }
                    _ = try await failing.finish(reports, pull: 0, holding: 0)
                    try await wait(replica) {
                        try await count("HGET", keys.stats, context, "cancelled") == graph.count - 1
                    }
                }
                return [
                    Situation(name: "\(graph.shape)_submitted", label: label + " is submitted", log: submitted),
                    Situation(name: "\(graph.shape)_run", label: label + " runs", log: ran),
                    Situation(
                        name: "\(graph.shape)_cancelled", label: label + " is cancelled from its root", log: failed),
                ]
            }
        }
    }

    // MARK: Helpers

    private func onServer(
        _ label: String, _ body: (BenchContext, String) async throws -> [Situation]
    ) async throws -> [Situation] {
        context.say(label)
        return try await BenchRedis.using(
            given: nil, arguments: SlowLog.serverArguments, queues: [context.queue], logger: context.logger
        ) { redis in
            let own = context.on(redis, queue: context.queue)
            try await own.freshQueue()
            return try await body(own, label)
        }
    }

    /// Returns the SLOWLOG from the start of a replica until `isOver` returns true.
    /// - Parameter start: runs once the replica listens.
    private func watchReplica(
        _ context: BenchContext, _ start: () async throws -> Void = {}, until isOver: () async throws -> Bool
    ) async throws -> SlowLog {
        try await SlowLog.watch(context.client) {
            try await withReplica(context) { replica in
                try await start()
                try await wait(replica, until: isOver)
            }
        }
    }

    private func withReplica<Value: Sendable>(
        _ context: BenchContext, _ body: (BenchChild) async throws -> Value
    ) async throws -> Value {
        let (replica, _) = try await BenchChild.serve(context)
        return try await stopping([replica]) { try await body(replica) }
    }

    /// Runs `body`, and stops the children whether or not it throws.
    private func stopping<Value: Sendable>(
        _ children: [BenchChild], _ body: () async throws -> Value
    ) async throws -> Value {
        let result: Result<Value, any Error>
        do {
            result = .success(try await body())
        } catch {
            result = .failure(error)
        }
        for child in children { await child.stop() }
        return try result.get()
    }

    private func wait(_ child: BenchChild, until isOver: () async throws -> Bool) async throws {
        try await wait([child], until: isOver)
    }

    private func wait(_ children: [BenchChild], until isOver: () async throws -> Bool) async throws {
        while try await !isOver() {
            for child in children { try child.check() }
            try await Task.sleep(for: Self.interval)
        }
    }

    /// Sends a command that returns a number. Returns -1 for any other reply, such as null.
    private func count(
        _ command: String, _ key: String, _ context: BenchContext, _ arguments: RedisArgument...
    ) async throws -> Int {
        let reply = try await context.client.send(RedisCommand(command, [.string(key)], arguments))
        return Int(reply.int ?? -1)
    }
}
