import Switchyard

/// Checks the numbers of a queue, read from Redis or from the server.
enum QueueChecks {
    struct Numbers: Sendable {
        var workers: Int
        /// Tasks that are ready to be pulled: pending, and not held, dependent or blocked by a limit.
        var waiting: Int
        var unroutable: Int
        var queueFullErrors: Int
        var isPaused: Bool
        var repaired: Int
        var cordoned = 0
    }

    /// Reads the numbers from Redis and checks them.
    static func findings(_ handle: SchedulerHandle) async throws -> [Finding] {
        do {
            let stats = try await handle.getStats()
            return findings(
                Numbers(
                    workers: stats.totalWorkers, waiting: stats.ready, unroutable: stats.unroutable,
                    queueFullErrors: stats.queueFullErrors, isPaused: stats.isPaused, repaired: stats.repaired,
                    cordoned: stats.cordonedWorkers),
                queue: handle.queue)
        } catch let error as SchedulerError {
            return [.fail("queue", "cannot be read: \(error.message)", "check Redis's log")]
        }
    }

    static func findings(_ numbers: Numbers, queue: String) -> [Finding] {
        let flag = queue == "default" ? "" : " --queue \(queue)"
        var findings: [Finding] = []
        switch (numbers.workers, numbers.waiting) {
        case (0, 0):
            findings.append(
                .warn("workers", "none is registered", "start one: switchyard worker --redis URL\(flag)"))
        case (0, let waiting):
            findings.append(
                .fail(
                    "workers", "none is registered, and \(waiting) tasks are ready",
                    "start one: switchyard worker --redis URL\(flag)"))
        default: findings.append(.ok("workers", "\(numbers.workers) registered"))
        }
        if numbers.workers > 0, numbers.unroutable > 0 {
            findings.append(
                .fail(
                    "routing",
                    numbers.unroutable == 1
                        ? "1 task has requirements that no worker meets"
                        : "\(numbers.unroutable) tasks have requirements that no worker meets",
                    "find them with switchyard list\(flag) --state pending, and the reason with switchyard "
                        + "explain\(flag) ID; start a worker with --label, --cpu, --memory-mb or --resource"))
        }
        if numbers.cordoned > 0 {
            findings.append(
                .warn(
                    "workers", "\(numbers.cordoned) cordoned: they get no tasks",
                    "switchyard workers\(flag) shows them; switchyard workers uncordon\(flag) ID"))
        }
        if numbers.isPaused {
            findings.append(.warn("queue", "\(queue) is paused", "switchyard queue resume\(flag)"))
        }
        if numbers.queueFullErrors > 0 {
            findings.append(
                .warn(
                    "queue", "\(numbers.queueFullErrors) submissions were refused because it was full",
                    "add workers, or raise the limit: switchyard queue set\(flag) max_queue_length=N"))
        }
        if numbers.repaired > 0 {
            findings.append(
                .warn(
                    "indexes", "\(numbers.repaired) entries had to be repaired",
                    "another program writes to its keys, or Redis lost writes: check both, and report it"))
        }
        return findings
    }
}
