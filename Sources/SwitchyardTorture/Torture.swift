import Logging
import RedisClient
import Switchyard
import SwitchyardTesting

/// Runs Switchyard under a workload while faults strike, and then checks what came of it.
///
/// Every client notes each call and its answer, every execution notes its start and its end, and after the last fault
/// all tasks have time to end. Then the rules of ``Checker`` are applied to these notes and to everything in Redis.
package struct Torture: Sendable {
    private let plan: TorturePlan
    private let program: String
    private let logger: Logger
    private let progress: @Sendable (String) -> Void

    /// - Parameters:
    ///   - program: the `switchyard` that replicas and workers run.
    ///   - progress: receives a line about each fault.
    package init(
        plan: TorturePlan, program: String, logger: Logger, progress: @escaping @Sendable (String) -> Void
    ) {
        self.plan = plan
        self.program = program
        self.logger = logger
        self.progress = progress
    }

    /// - Throws: ``TortureError`` and errors of Redis, if the run could not be made. What it finds is in the report.
    package func run() async throws -> TortureReport {
        let farm = try await Farm.start(plan, program: program, logger: logger)
        let result: Result<TortureReport, any Error>
        do {
            result = .success(try await run(on: farm))
        } catch {
            result = .failure(error)
        }
        await farm.stop()
        return try result.get()
    }

    private func run(on farm: Farm) async throws -> TortureReport {
        let history = History()
        let listener = Listener()
        let watch = StallWatch()
        let failovers = FailoverWatch()
        let client = farm.redis.client
        let handle = try SchedulerHandle(queue: Farm.queue, client: client, logger: logger)
        let start = ContinuousClock.now
        let faults = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await listener.run(client) }
            group.addTask { await watch.run() }
            if plan.redis != .server {
                group.addTask { try await failovers.run(farm.redis) }
                group.addTask { await failovers.write(handle) }
            }
            for index in 0..<plan.clients { try await addClient(index, farm, history, to: &group) }
            let faults = try await Nemesis(farm: farm, progress: progress).run(until: start + plan.duration)
            try await Task.sleep(for: plan.calm)
            group.cancelAll()
            while let result = await group.nextResult() {
                if case .failure(let error) = result, !(error is CancellationError) { throw error }
            }
            return faults
        }
        try await farm.heal()
        let settled = try await settle(handle)
        let tasks = try await Self.allTasks(history, handle)
        let stats = try await handle.getStats()
        let executions = try Execution.read(farm.journal)
        var evidence = Evidence(
            calls: history.calls, submitted: history.submitted, executions: executions,
            deaths: Dictionary(uniqueKeysWithValues: farm.workers.map { ($0.name, $0.deaths) }), faults: faults,
            tasks: tasks,
            counts: [
                .completed: stats.completed, .failed: stats.failed, .timeout: stats.timeout,
                .cancelled: stats.cancelled,
            ], processFailures: farm.processes.flatMap(\.failures), told: listener.announcements,
            notices: Set(farm.processes.flatMap(\.notices)), repeatedTimes: farm.redis.repeatedTimes,
            stalls: watch.stalls, changes: failovers.changes, writes: failovers.writes)
        for failover in evidence.unordered(on: plan.redis) {
            evidence.faults.append(failover)
            progress("\(failover.kind.rawValue) that nobody ordered")
        }
        var violations = Checker.violations(evidence)
        if settled == nil {
            violations.append(
                Violation(rule: "everything ends", finding: "not within \(plan.settling) of the last fault"))
        }
        let snapshot = try await Snapshot(reading: Keys(queue: Farm.queue), client: client)
        do {
            try snapshot.check()
        } catch let found as SnapshotViolations {
            violations.append(Violation(rule: "every key agrees with every other", finding: "\(found)"))
        }
        if stats.repaired > 0 {
            violations.append(
                Violation(rule: "nothing needs repair", finding: "the queue repaired \(stats.repaired) entries"))
        }
        if plan.deletesAll, settled != nil {
            let left = try await Remains(client: client).afterDeletion(handle)
            if !left.isEmpty {
                violations.append(
                    Violation(
                        rule: "nothing is left of tasks",
                        finding: "\(left.count) keys are left of deleted tasks: "
                            + left.prefix(20).joined(separator: ", ")))
            }
        }
        return TortureReport(
            plan: plan, evidence: evidence, violations: violations, settled: settled, took: .now - start)
    }

    private func addClient(
        _ index: Int, _ farm: Farm, _ history: History, to group: inout ThrowingTaskGroup<Void, any Error>
    ) async throws {
        let link = Link(seed: plan.seed &+ UInt64(1000 + index))
        let url = try await farm.redis.open(link)
        // Sometimes a client's own connection loses replies too.
        link.set(.init(lostReplies: 400, lostRequests: 400))
        var configuration = try RedisConfiguration(url: url)
        configuration.commandTimeout = .seconds(2)
        let redis = RedisClient(configuration, logger: logger)
        let client = Client(
            name: "c\(index)", handle: try SchedulerHandle(queue: Farm.queue, client: redis, logger: logger),
            history: history, journal: farm.journal, maxBacklog: plan.backlog,
            redisReplicas: plan.redis.redisReplicas)
        let seed = plan.seed &* 31 &+ UInt64(index)
        group.addTask {
            await client.run(seed: seed)
            await redis.shutdown()
            await link.close()
        }
    }

    /// Waits until all tasks have ended.
    /// - Returns: how long that took; nil: longer than the plan allows.
    private func settle(_ handle: SchedulerHandle) async throws -> Duration? {
        let start = ContinuousClock.now
        while ContinuousClock.now < start + plan.settling {
            let stats = try await handle.getStats()
            if stats.pending + stats.assigned + stats.running == 0 { return .now - start }
            try await Task.sleep(for: .milliseconds(100))
        }
        return nil
    }

    /// The tasks in Redis: those that somebody submitted, and any others.
    private static func allTasks(_ history: History, _ handle: SchedulerHandle) async throws -> [String: QueuedTask] {
        var tasks: [String: QueuedTask] = [:]
        var ids = Set(history.submitted.keys)
        for state in TaskState.allCases {
            var filter = SchedulerHandle.Filter()
            filter.state = state
            var cursor: String?
            repeat {
                let page = try await handle.listTasks(filter, limit: 500, cursor: cursor)
                ids.formUnion(page.tasks.map { $0.id })
                cursor = page.cursor
            } while cursor != nil
        }
        let sorted = ids.sorted()
        for start in stride(from: 0, to: sorted.count, by: 500) {
            for task in try await handle.getTasks(Array(sorted[start..<min(start + 500, sorted.count)])) {
                if let task { tasks[task.id] = task }
            }
        }
        return tasks
    }
}
