import Logging
import NIOCore
import RedisClient
import Switchyard
import SwitchyardWorker

/// Measures the cost of a queue for the Redis servers, or the primaries of a Redis Cluster, over which it is spread.
///
/// It submits tasks, and workers in this process complete them without running anything. It measures how the tasks are
/// distributed and what a task costs. It does not measure the total throughput, which takes a core for each server.
struct SpreadLoad: Sendable {
    let partitions: Partitions
    /// Tasks in one submission. All tasks of a submission go to one partition.
    let perCall: Int
    var callers = 32
    var workers = 2
    var slots = 200

    struct Result: Sendable {
        /// Tasks completed in each partition.
        var tasks: [Int]
        /// The processor time of all servers for the whole life of a task, in µs.
        var cpuMicroseconds: Double
    }

    init(_ partitions: Partitions, perCall: Int) {
        self.partitions = partitions
        self.perCall = perCall
    }

    /// Submits `tasks` tasks and returns when all have completed.
    /// - Parameter queue: a queue that nothing else uses.
    func run(tasks: Int, queue: String, logger: Logger) async throws -> Result {
        let handle = try SchedulerHandle(queue: queue, partitions: partitions, logger: logger)
        let functions = partitions.functions(queue: queue, logger: logger)
        for functions in functions { try await partitions.join(functions) }
        try await handle.configure([("max_queue_length", 100_000_000)])

        let before = try await cpuSeconds()
        try await submit(tasks, to: handle)
        let serving = try (0..<workers).map { index in
            try Worker(
                id: "spread-\(index)", queue: queue, partitions: partitions, options: WorkerOptions(slots: slots),
                handler: NoOpHandler(), logger: logger)
        }
        try await ServingWorkers.run(serving) {
            while try await handle.getStats().completed < tasks { try await Task.sleep(for: .milliseconds(50)) }
        }
        let used = try await cpuSeconds() - before

        var completed: [Int] = []
        for functions in functions {
            let counter = RedisCommand("HGET", .string(functions.keys.stats), "completed")
            completed.append(Int(try await functions.client.send(counter).int ?? 0))
        }
        return Result(tasks: completed, cpuMicroseconds: used * 1e6 / Double(max(tasks, 1)))
    }

    private func cpuSeconds() async throws -> Double {
        var sum = 0.0
        for instance in partitions.instances {
            for server in try await instance.primaries() { sum += try await RedisUsage.read(server).cpuSeconds }
        }
        return sum
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
