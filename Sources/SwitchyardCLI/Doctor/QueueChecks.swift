import Switchyard

/// What the numbers of a queue tell, wherever they came from.
enum QueueChecks {
    struct Numbers: Sendable {
        var workers: Int
        /// In line, not held.
        var waiting: Int
        var unroutable: Int
        var queueFullErrors: Int
        var isPaused: Bool
        var repaired: Int
    }

    /// Of a queue in Redis.
    static func findings(_ handle: SchedulerHandle) async throws -> [Finding] {
        do {
            let stats = try await handle.getStats()
            return findings(
                Numbers(
                    workers: stats.totalWorkers, waiting: stats.ready, unroutable: stats.unroutable,
                    queueFullErrors: stats.queueFullErrors, isPaused: stats.isPaused, repaired: stats.repaired),
                queue: handle.queue)
        } catch let error as SchedulerError {
            return [.fail("queue", "cannot be read: \(error.message)", "look at Redis's log")]
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
                    "workers", "none is registered, and \(waiting) tasks wait",
                    "start one: switchyard worker --redis URL\(flag)"))
        default: findings.append(.ok("workers", "\(numbers.workers) registered"))
        }
        if numbers.workers > 0, numbers.unroutable > 0 {
            findings.append(
                .fail(
                    "routing", "\(numbers.unroutable) tasks need what no worker has",
                    "switchyard list\(flag) --state pending, then switchyard explain\(flag) ID, says what; "
                        + "start a worker that has it (--label, --cpu, --memory-mb, --resource)"))
        }
        if numbers.isPaused {
            findings.append(.warn("queue", "\(queue) is paused", "switchyard queue resume\(flag)"))
        }
        if numbers.queueFullErrors > 0 {
            findings.append(
                .warn(
                    "queue", "\(numbers.queueFullErrors) submissions were refused because it was full",
                    "add workers, or let it grow: switchyard queue set\(flag) max_queue_length=N"))
        }
        if numbers.repaired > 0 {
            findings.append(
                .warn(
                    "indexes", "\(numbers.repaired) entries had to be repaired",
                    "somebody else writes to its keys, or Redis lost writes: look at both, and report it"))
        }
        return findings
    }
}
