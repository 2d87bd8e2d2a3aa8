import RedisClient
import Switchyard
import SwitchyardTesting

/// A client that submits tasks and changes them, one call after another, by choices of its seed.
struct Client: Sendable {
    let name: String
    let handle: SchedulerHandle
    let history: History
    let journal: String
    let maxBacklog: Int
    /// For how many Redis replicas submissions wait.
    let redisReplicas: Int

    /// A submission that not all Redis replicas had in time. A failover may lose it: nobody knows whether it is there.
    struct NotReplicated: Error {}

    /// Makes calls until it is cancelled.
    func run(seed: UInt64) async {
        var random = SeededGenerator(seed: seed)
        var tasks = TaskChoices(prefix: name)
        var mine: [String] = []
        while !Task.isCancelled {
            let batch = await submit(&tasks, &random)
            mine += batch
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                guard let id = mine.suffix(400).randomElement(using: &random) else { break }
                await touch(id, &random)
            }
            await waitForRoom()
        }
    }

    private func submit(_ tasks: inout TaskChoices, _ random: inout SeededGenerator) async -> [String] {
        var batch = tasks.next(&random)
        // Alone, because nothing of a batch is added if one of its tasks is not.
        if batch.count == 1, random.oneIn(6) {
            batch[0].options.uniqueKey = "unique-\(Int.random(in: 0..<6, using: &random))"
        }
        history.willSubmit(batch)
        let queued = batch.map { $0.queued(journal: journal) }
        let isBatch = batch.count > 1
        let replicas = redisReplicas > 0 ? redisReplicas : nil
        func added(_ submissions: [SchedulerHandle.Submission]) throws -> QueuedTask? {
            if submissions.contains(where: { $0.isReplicated == false }) { throw NotReplicated() }
            return submissions.first?.task
        }
        let ids = batch.map(\.id)
        await history.call(.submit, ids) {
            if isBatch {
                return try await added(
                    handle.addTasks(queued, batch: "batch-" + ids[0], replicasToWait: replicas))
            }
            return try await added([handle.addTask(queued[0], replicasToWait: replicas)])
        }
        // A client that never saw the answer submits the same again: nothing may be added twice.
        if random.oneIn(12), !isBatch {
            await history.call(.repeated, ids) {
                try await added([handle.addTask(queued[0], replicasToWait: replicas)])
            }
        }
        return ids
    }

    /// Looks at a task, or changes it.
    private func touch(_ id: String, _ random: inout SeededGenerator) async {
        switch Int.random(in: 0..<10, using: &random) {
        case 0: await history.call(.cancel, [id]) { try await handle.cancelTask(id, reason: "torture") }
        case 1:
            let priority = TaskPriority.allCases.randomElement(using: &random) ?? .normal
            await history.call(.prioritize, [id]) { try await handle.changePriority(id, to: priority) }
        case 2: await history.call(.retry, [id]) { try await handle.retryTask(id) }
        default: await history.call(.get, [id]) { try await handle.getTask(id) }
        }
    }

    /// Waits while too many tasks are unended, or Redis is away.
    private func waitForRoom() async {
        while !Task.isCancelled {
            // Redis is away: the next call is made all the same, because calls during faults are what this is about.
            guard let stats = try? await handle.getStats() else { return }
            let unended = stats.pending + stats.assigned + stats.running
            if unended < maxBacklog { return }
            // Cancelled: the loop ends.
            try? await Task.sleep(for: .milliseconds(20))
        }
    }
}
