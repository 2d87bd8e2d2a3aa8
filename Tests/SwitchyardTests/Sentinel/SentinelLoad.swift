import RedisClient
import Switchyard
import SwitchyardTesting

/// A replica, a worker and submitters on one queue behind sentinels, and a record of what was acknowledged.
struct SentinelLoad: Sendable {
    enum Submitter: CaseIterable { case waiting, waitingBatch, plain }

    struct Record: Sendable {
        /// Of tasks that all Redis replicas had, and of the others, when they were acknowledged.
        var replicated: [String: ContinuousClock.Instant] = [:]
        var others: [String: ContinuousClock.Instant] = [:]
        /// Between two acknowledged submissions of one submitter.
        var longestGap = Duration.zero
        var latest: [Submitter: ContinuousClock.Instant] = [:]

        mutating func note(_ added: [SchedulerHandle.Submission], by submitter: Submitter) {
            let now = ContinuousClock.now
            if let before = latest[submitter] { longestGap = max(longestGap, now - before) }
            latest[submitter] = now
            for one in added {
                if one.isReplicated == true { replicated[one.task.id] = now } else { others[one.task.id] = now }
            }
        }
    }

    let queue = "test-" + QueuedTask.randomID()
    let farm: SentinelFarm
    let record = Shared<Record>(Record())
    let scheduler: TaskScheduler
    let handle: SchedulerHandle
    private let client: RedisClient
    private let workerClient: RedisClient

    init(_ farm: SentinelFarm) async throws {
        self.farm = farm
        client = try farm.makeClient()
        workerClient = try farm.makeClient()
        scheduler = try TaskScheduler(client: client, queues: [queue], logger: TestRedis.quiet)
        handle = try SchedulerHandle(queue: queue, client: client, logger: TestRedis.quiet)
        try await FunctionLibrary(client: client, logger: TestRedis.quiet).ensureLoaded()
        try await handle.configure(Load.settings.map { ($0.key, $0.value) })
    }

    /// Runs `faults` under load, and waits until every submitter had a task acknowledged after it. Returns the
    /// acknowledged tasks that do not end within half a minute after that.
    func run(_ faults: () async throws -> Void) async throws -> Set<String> {
        let replica = Task { [scheduler] in try await scheduler.run() }
        let worker = Task { await work() }
        let submitters = Submitter.allCases.map { submitter in Task { await submit(submitter) } }
        var failure: (any Error)?
        var missing: Set<String> = []
        do {
            try await faults()
            let end = ContinuousClock.now
            _ = try await eventually(within: .seconds(30), every: .milliseconds(20)) {
                let latest = record.value.latest
                return Submitter.allCases.allSatisfy { latest[$0].map { $0 > end } ?? false }
            }
            for submitter in submitters { submitter.cancel() }
            for submitter in submitters { await submitter.value }
            _ = try await eventually(within: .seconds(30), every: .milliseconds(100)) {
                missing = try await unended()
                let replicated = record.value.replicated
                let ready = try await handle.getStats().ready
                return ready == 0 && missing.allSatisfy { replicated[$0] == nil }
            }
        } catch {
            failure = error
        }
        for task in submitters + [worker] { task.cancel() }
        for task in submitters + [worker] { await task.value }
        replica.cancel()
        _ = await replica.result
        if let failure { throw failure }
        return missing
    }

    func shutdown() async {
        for client in [client, workerClient] { await client.shutdown() }
    }

    private func submit(_ submitter: Submitter) async {
        var count = 0
        while !Task.isCancelled {
            count += 1
            // Sizes from one task to a batch that goes in two parts.
            let size = submitter == .waitingBatch ? [2, 40, 7, 60][count % 4] : 1
            let tasks = (0..<size).map { number in
                var task = QueuedTask(BuildRequest(), priority: .normal, id: "\(submitter)-\(count)-\(number)")
                task.maxRetries = 100
                if size > 50 { task.scheduling.fairnessKey = "t\(number % 3)" }
                return task
            }
            do {
                let added = try await handle.addTasks(tasks, replicasToWait: submitter == .plain ? nil : 2)
                record.withLock { $0.note(added, by: submitter) }
            } catch {
                // Not acknowledged.
            }
            // The sleep fails only when the task is cancelled, which ends the loop.
            try? await Task.sleep(for: .milliseconds(3))
        }
    }

    /// Pulls and finishes tasks.
    private func work() async {
        let functions = QueueFunctions(queue: queue, client: workerClient, logger: TestRedis.quiet)
        guard let worker = try? WorkerClient(worker: "w", functions: functions) else { return }
        while !Task.isCancelled {
            do {
                let got = try await worker.pull(max: 50, holding: 0)
                if got.isEmpty { try await worker.waitForWakeUp(timeout: .milliseconds(200)) }
                let reports = got.map {
                    WorkerClient.Report(taskID: $0.task.id, attempt: $0.attempt, outcome: .completed)
                }
                if !reports.isEmpty { _ = try await worker.finish(reports, pull: 0, holding: 0) }
            } catch SchedulerError.workerNotFound {
                // It is registered by the next round, if not now.
                _ = try? await worker.register(.init(slots: 50))
            } catch {
                // The sleep fails only when the task is cancelled, which ends the loop.
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private func unended() async throws -> Set<String> {
        let record = record.value
        let ids = Array(record.replicated.keys) + Array(record.others.keys)
        var missing: Set<String> = []
        for start in stride(from: 0, to: ids.count, by: 500) {
            let part = Array(ids[start..<min(start + 500, ids.count)])
            for (id, task) in zip(part, try await handle.getTasks(part)) where task?.state != .completed {
                missing.insert(id)
            }
        }
        return missing
    }
}
