import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Synchronization
import Testing

/// An assignment that a sleeping worker receives only when its lease is over, while the worker's heartbeats pass.
@Suite struct ALateAssignment {
    private final class NotingHandler: TaskHandler {
        private let noted = Mutex<[Int]>([])
        var attempts: [Int] { noted.withLock { $0 } }

        func run(_ attempt: Attempt) async -> AttemptOutcome {
            noted.withLock { $0.append(attempt.number) }
            return .completed()
        }
    }

    private static let settings = ["lease_ms": 1000, "heartbeat_ms": 200, "retry_delay_ms": 0]

    /// Longer than the lease, the time in which a tick finds its end, and the run of the next attempt.
    private static let delay: Duration = .seconds(5)

    @Test func isNotStarted() async throws {
        try await PartitionedQueue.run(servers: 1, partitions: 1, settings: Self.settings) { queue in
            let isLate = Mutex(false)
            let proxy = try await RedisProxy.start(to: queue.servers[0]) { purpose, direction in
                let late = purpose == .sleeps && direction == .reply && isLate.withLock { $0 }
                return .deliver(after: late ? Self.delay : .zero)
            }
            let replica = Task {
                try await TaskScheduler(partitions: queue.partitions, queues: [queue.name], logger: TestRedis.quiet)
                    .run()
            }
            let client = try proxy.makeClient()
            func start(_ id: String, _ handler: NotingHandler, _ partitions: Partitions) throws -> (
                Worker, Task<Void, any Error>
            ) {
                let worker = try Worker(
                    id: id, queue: queue.name, partitions: partitions, options: WorkerOptions(slots: 1),
                    handler: handler, logger: TestRedis.quiet)
                return (worker, Task { try await worker.run() })
            }
            let (late, other) = (NotingHandler(), NotingHandler())
            let (first, firstRun) = try start("first", late, Partitions(on: [client], count: 1))
            // A task that arrives in time shows that the worker runs, and then sleeps.
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "before"))
            #expect(try await eventually(within: .seconds(30)) { late.attempts.count == 1 })
            isLate.withLock { $0 = true }
            // Longer than the worker takes to fall asleep, and than it trusts the time at which its call was sent.
            try await Task.sleep(for: .milliseconds(1500))
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "task"))
            let (second, secondRun) = try start("second", other, queue.partitions)
            #expect(
                try await eventually(within: .seconds(30)) {
                    try await queue.handle.getTask("task").state == .completed
                })
            let task = try await queue.handle.getTask("task")
            #expect(task.attempts.map(\.worker) == ["first", "second"])
            try await Task.sleep(for: Self.delay)
            for worker in [first, second] { worker.drain() }
            try await firstRun.value
            try await secondRun.value
            replica.cancel()
            _ = await replica.result
            #expect(late.attempts == [1])
            #expect(other.attempts == [2])
            await client.shutdown()
            await proxy.stop()
        }
    }
}
