import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Synchronization
import Testing

/// Whatever the network does to requests and replies, a worker process starts each attempt at most once.
@Suite("Workers behind a network that delays and loses")
struct DelayedReplyTests {
    /// Counts how often each attempt starts, and runs it for a random time.
    private final class CountingHandler: TaskHandler {
        private struct Key: Hashable {
            let task: String
            let attempt: Int
        }
        private let starts = Mutex<[Key: Int]>([:])
        private let longest: Int

        init(longest milliseconds: Int) { longest = milliseconds }

        func run(_ attempt: Attempt) async -> AttemptOutcome {
            starts.withLock { $0[Key(task: attempt.id, attempt: attempt.number), default: 0] += 1 }
            let time = Int.random(in: 0...longest)
            // Fails only when the attempt is cancelled, which ends it.
            if time > 0 { try? await Task.sleep(for: .milliseconds(time)) }
            return .completed()
        }

        var tasks: Set<String> { starts.withLock { Set($0.keys.map(\.task)) } }
        var repeatedCount: Int { starts.withLock { $0.values.count { $0 > 1 } } }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var slots: Int
        var longest: Int
        var workers = 1
        var partitions = 1
        /// Delays in ms of the replies to sleeps and to commands, and of requests.
        var sleeps = 0
        var commands = 0
        var requests = 0
        /// One of so many requests and replies is lost with its connection; 0: none.
        var loses = 0
        /// All connections are closed now and then.
        var reconnects = false

        var testDescription: String {
            "\(workers) × \(slots) slots, ≤ \(longest) ms, \(partitions) partitions, delays \(sleeps)/\(commands)/"
                + "\(requests) ms, loses \(loses)\(reconnects ? ", reconnects" : "")"
        }

        var rule: RedisProxy.Rule {
            { [self] purpose, direction in
                if purpose == .subscription { return .deliver(after: .zero) }
                if loses > 0, Int.random(in: 0..<loses) == 0 { return .lose }
                let most = direction == .request ? requests : purpose == .sleeps ? sleeps : commands
                return .deliver(after: most == 0 ? .zero : .microseconds(Int.random(in: 0...most * 1000)))
            }
        }
    }

    private static let settings = [
        "lease_ms": 20_000, "heartbeat_ms": 200, "retry_delay_ms": 0, "max_queue_length": 100_000,
    ]

    static let cases: [Case] =
        [1, 4, 16].flatMap { slots in
            [0, 3, 50].flatMap { longest in
                [
                    Case(slots: slots, longest: longest, sleeps: 100),
                    Case(slots: slots, longest: longest, sleeps: 100, commands: 20, requests: 10),
                ]
            }
        } + [
            Case(slots: 4, longest: 5, commands: 100),
            Case(slots: 4, longest: 5, workers: 3, sleeps: 100, commands: 5),
            Case(slots: 16, longest: 20, workers: 2, sleeps: 30, loses: 40),
            Case(slots: 4, longest: 2, sleeps: 100, commands: 20, loses: 20),
            Case(slots: 1, longest: 2, workers: 2, sleeps: 50, loses: 20, reconnects: true),
            Case(slots: 16, longest: 5, sleeps: 100, commands: 100, requests: 20, loses: 60, reconnects: true),
            Case(slots: 4, longest: 5, partitions: 3, sleeps: 100, commands: 20),
            Case(
                slots: 16, longest: 5, workers: 2, partitions: 2, sleeps: 50, commands: 50, loses: 40,
                reconnects: true),
        ]

    @Test(arguments: cases) func neverStartAnAttemptTwice(_ scene: Case) async throws {
        try await PartitionedQueue.run(servers: 1, partitions: scene.partitions, settings: Self.settings) { queue in
            let proxy = try await RedisProxy.start(to: queue.servers[0], rule: scene.rule)
            let handlers = (0..<scene.workers).map { _ in CountingHandler(longest: scene.longest) }
            var clients: [RedisClient] = []
            var serving: [(worker: Worker, run: Task<Void, any Error>)] = []
            for (index, handler) in handlers.enumerated() {
                let client = try proxy.makeClient()
                clients.append(client)
                let worker = try Worker(
                    id: "w\(index)", queue: queue.name,
                    partitions: Partitions(on: [client], count: scene.partitions),
                    options: WorkerOptions(slots: scene.slots), handler: handler, logger: TestRedis.quiet)
                serving.append((worker, Task { try await worker.run() }))
            }
            let replica = Task {
                try await TaskScheduler(partitions: queue.partitions, queues: [queue.name], logger: TestRedis.quiet)
                    .run()
            }
            let ids = try await submit(
                TestLength.of(120, long: 300), to: queue, closing: scene.reconnects ? proxy : nil)
            let isDone = try await eventually(within: .seconds(60), every: .milliseconds(20)) {
                try await queue.handle.getStats().completed == ids.count
            }
            #expect(isDone)
            for (worker, _) in serving { worker.drain() }
            for (_, run) in serving { try await run.value }
            replica.cancel()
            _ = await replica.result
            #expect(handlers.map(\.repeatedCount) == handlers.map { _ in 0 })
            let started: Set<String> = handlers.reduce(into: []) { $0.formUnion($1.tasks) }
            #expect(started == Set(ids))
            let stats = try await queue.handle.getStats()
            #expect(stats.retries == 0 && stats.lost == 0)
            for client in clients { await client.shutdown() }
            await proxy.stop()
        }
    }

    /// Submits tasks in small groups with pauses, so that workers sleep and are woken many times.
    private func submit(_ count: Int, to queue: PartitionedQueue, closing proxy: RedisProxy?) async throws -> [String] {
        var ids: [String] = []
        while ids.count < count {
            for _ in 0..<Int.random(in: 1...8) {
                let task = QueuedTask(BuildRequest())
                _ = try await queue.handle.addTask(task)
                ids.append(task.id)
            }
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...40)))
            if Int.random(in: 0..<15) == 0 { proxy?.closeAll() }
        }
        return ids
    }
}
