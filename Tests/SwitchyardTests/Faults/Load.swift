import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Replicas, workers and submitters on one queue, and a record of what was acknowledged and accepted.
struct Load: Sendable {
    let queue: TestQueue
    /// The time at which each submission was acknowledged.
    let acknowledged = Shared<[String: ContinuousClock.Instant]>([:])
    let accepted = Shared<[String: Set<Int>]>([:])

    /// Short leases, and immediate retries for as long as the test runs.
    static let settings = [
        "lease_ms": 600, "heartbeat_ms": 100, "assign_timeout_ms": 600, "retry_delay_ms": 0, "default_max_retries": 100,
        "max_deliveries": 1000, "max_queue_length": 1_000_000,
    ]

    /// Runs `faults` while 2 submitters, `workers` workers and `replicas` replicas run, and then waits until the
    /// acknowledged tasks have ended.
    /// - Parameter faults: Receives a function that stops the replica with a given number for good.
    func run(
        replicas: Int = 3, workers: Int = 3,
        faults: (_ stopReplica: @Sendable (Int) -> Void) async throws -> Void
    ) async throws {
        var clients: [RedisClient] = []
        var running: [Task<Void, any Error>] = []
        for _ in 0..<replicas {
            let client = try queue.redis.makeClient()
            clients.append(client)
            let replica = try TaskScheduler(client: client, queues: [queue.name], logger: .silent)
            running.append(Task { try await replica.run() })
        }
        let replicaTasks = running
        let workerTasks = try (0..<workers).map { n in
            let worker = try SimulatedWorker("w\(n)", queue, accepted: accepted)
            return Task { await worker.run() }
        }
        let submitters = (0..<2).map { n in Task { await submit(n) } }

        var failure: (any Error)?
        do {
            try await faults { replicaTasks[$0].cancel() }
        } catch {
            failure = error
        }
        for submitter in submitters { submitter.cancel() }
        for submitter in submitters { await submitter.value }
        if failure == nil {
            _ = try? await eventually(within: .seconds(20), every: .milliseconds(50)) { try await unended().isEmpty }
        }
        for worker in workerTasks { worker.cancel() }
        for worker in workerTasks { await worker.value }
        for replica in replicaTasks { replica.cancel() }
        for replica in replicaTasks { _ = await replica.result }
        for client in clients { await client.shutdown() }
        if let failure { throw failure }
    }

    private func submit(_ n: Int) async {
        var count = 0
        while !Task.isCancelled {
            count += 1
            let task = QueuedTask(BuildRequest(), priority: .normal, id: "s\(n)-\(count)")
            var retried = task
            retried.maxRetries = 100
            if (try? await queue.handle.addTask(retried)) != nil {
                acknowledged.withLock { $0[task.id] = .now }
            }
            try? await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Acknowledged tasks that are missing, or have not ended.
    func unended(before: ContinuousClock.Instant? = nil) async throws -> [String] {
        let ids = acknowledged.value.filter { before == nil || $0.value < before! }.keys.sorted()
        var unended: [String] = []
        for start in stride(from: 0, to: ids.count, by: 500) {
            let piece = Array(ids[start..<min(start + 500, ids.count)])
            for (id, task) in zip(piece, try await queue.handle.getTasks(piece)) where task?.state != .completed {
                unended.append("\(id) \(task?.state.rawValue ?? "gone")")
            }
        }
        return unended
    }
}
