import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Synchronization
import Testing

/// Workers whose link carries large tasks more slowly than a command may take.
@Suite("Large tasks over a slow link", .serialized)
struct SlowLinkTests {
    /// Counts what arrives, by the bytes of each payload.
    private final class WeighingHandler: TaskHandler {
        private let found = Mutex<[Int]>([])

        func run(_ attempt: Attempt) async -> AttemptOutcome {
            found.withLock { $0.append(attempt.task.request.payload?.readableBytes ?? 0) }
            return .completed()
        }

        var sizes: [Int] { found.withLock { $0 } }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var tasks: Int
        var bytes: Int
        var slots: Int
        var bytesPerSecond: Int
        /// How long a command may take while nothing arrives.
        var commandTimeout: Duration

        var testDescription: String {
            "\(tasks) × \(bytes) bytes, \(slots) slots, \(bytesPerSecond) bytes/s, \(commandTimeout)"
        }
    }

    @Test(
        arguments: [
            Case(tasks: 9, bytes: 1_000_000, slots: 16, bytesPerSecond: 2_000_000, commandTimeout: .milliseconds(300)),
            // Each reply has several tasks.
            Case(tasks: 9, bytes: 200_000, slots: 4, bytesPerSecond: 600_000, commandTimeout: .milliseconds(400)),
        ])
    func allCompleteAndNoAttemptIsLost(scene: Case) async throws {
        let settings = ["lease_ms": 3000, "heartbeat_ms": 500, "retry_delay_ms": 0]
        try await TestQueue.run(settings: settings) { queue in
            let proxy = try await RedisProxy.start(to: queue.redis, bytesPerSecond: scene.bytesPerSecond)
            let client = try proxy.makeClient(commandTimeout: scene.commandTimeout)
            let payload = ByteBuffer(repeating: UInt8(ascii: "x"), count: scene.bytes)
            for n in 0..<scene.tasks {
                var request = BuildRequest()
                request.payload = payload
                _ = try await queue.handle.addTask(QueuedTask(request, priority: .normal, id: "t\(n)"))
            }
            let handler = WeighingHandler()
            try await queue.withWorker(slots: scene.slots, client: client, handler: handler) { _ in
                let isDone = try await eventually(within: .seconds(60)) {
                    try await queue.handle.getStats().completed == scene.tasks
                }
                #expect(isDone)
            }
            let stats = try await queue.handle.getStats()
            #expect(stats.lost == 0 && stats.retries == 0 && stats.failed == 0)
            #expect(handler.sizes == Array(repeating: scene.bytes, count: scene.tasks))
            await client.shutdown()
            await proxy.stop()
        }
    }
}
