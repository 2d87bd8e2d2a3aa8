import Logging
import NIOCore
import RedisClient
import Switchyard
import SwitchyardWorker

/// Measures the cost of a queue for each of the Redis servers over which it is spread.
///
/// It submits tasks, and workers in this process complete them without running anything. It measures how the tasks are
/// distributed and what a task costs. It does not measure the total throughput, which takes a core for each server.
struct SpreadLoad: Sendable {
    let instances: [RedisClient]
    /// Tasks in one submission. All tasks of a submission go to one partition.
    let perCall: Int
    var callers = 32
    var workers = 2
    var slots = 200

    /// The part of one Redis server.
    struct Share: Sendable {
        /// Tasks completed on the server.
        var tasks: Int
        /// Redis's processor time for the whole life of a task, in µs.
        var cpuMicroseconds: Double
    }

    /// Submits `tasks` tasks and returns when all have completed.
    /// - Parameter queue: a queue that nothing else uses.
    /// - Returns: the share of each server, in the order of ``instances``.
    func run(tasks: Int, queue: String, logger: Logger) async throws -> [Share] {
        let partitions = try Partitions(on: instances)
        let handle = try SchedulerHandle(queue: queue, partitions: partitions, logger: logger)
        let functions = partitions.functions(queue: queue, logger: logger)
        for functions in functions { try await partitions.join(functions) }
        try await handle.configure([("max_queue_length", 100_000_000)])

        let before = try await usage()
        try await submit(tasks, to: handle)
        let serving = try (0..<workers).map { index in
            try Worker(
                id: "spread-\(index)", queue: queue, partitions: partitions, options: WorkerOptions(slots: slots),
                handler: NoOpHandler(), logger: logger)
        }
        try await ServingWorkers.run(serving) {
            while try await handle.getStats().completed < tasks { try await Task.sleep(for: .milliseconds(50)) }
        }
        let after = try await usage()

        var shares: [Share] = []
        for index in instances.indices {
            let counter = RedisCommand("HGET", .string(functions[index].keys.stats), "completed")
            let completed = Int(try await instances[index].send(counter).int ?? 0)
            shares.append(
                Share(
                    tasks: completed,
                    cpuMicroseconds: (after[index].cpuSeconds - before[index].cpuSeconds) * 1e6
                        / Double(max(completed, 1))))
        }
        return shares
    }

    private func usage() async throws -> [RedisUsage] {
        var all: [RedisUsage] = []
        for client in instances { all.append(try await RedisUsage.read(client)) }
        return all
    }

    private func submit(_ count: Int, to handle: SchedulerHandle) async throws {
        var request = BuildRequest()
        request.payload = ByteBuffer(string: String(repeating: "x", count: BenchLoad.payloadBytes))
        let task = QueuedTask(request, priority: .normal)
        let calls = (count + perCall - 1) / perCall
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<callers {
                group.addTask {
                    for call in stride(from: caller, to: calls, by: callers) {
                        let size = min(perCall, count - call * perCall)
                        _ = try await handle.addTasks(
                            (0..<size).map { _ in QueuedTask(task.request, priority: .normal) })
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
