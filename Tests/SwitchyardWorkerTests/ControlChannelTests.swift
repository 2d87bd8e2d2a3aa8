import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Synchronization
import Testing

/// Orders that are published while a worker does not hear its control channel. Its next regular heartbeat is half an
/// hour away.
@Suite(.serialized) struct ControlChannelTests {
    enum Order: CaseIterable, Sendable { case cancel, drain }

    /// Loses bytes, each time with the connection.
    private final class Losses: Sendable {
        private let state: Mutex<(left: Int, lost: Int)>

        init(_ count: Int) { state = Mutex((count, 0)) }

        /// How much is to be lost from now on.
        func expect(_ count: Int) { state.withLock { $0.left = count } }
        /// How much has been lost.
        var count: Int { state.withLock { $0.lost } }

        func fate() -> RedisProxy.Fate {
            state.withLock { state in
                guard state.left > 0 else { return .deliver(after: .zero) }
                state.left -= 1
                state.lost += 1
                return .lose
            }
        }
    }

    private func run(
        losing losses: Losses, _ purpose: RedisProxy.Purpose = .subscription,
        _ direction: RedisProxy.Direction = .reply, _ body: (TestQueue, PatientHandler) async throws -> Void
    ) async throws {
        try await TestQueue.run(settings: ["lease_ms": 3_600_000, "heartbeat_ms": 1_800_000]) { queue in
            let proxy = try await RedisProxy.start(to: queue.redis) { foundPurpose, foundDirection in
                foundPurpose == purpose && foundDirection == direction ? losses.fate() : .deliver(after: .zero)
            }
            var configuration = try RedisConfiguration(url: proxy.url)
            configuration.clientName = queue.name
            let client = RedisClient(configuration)
            let handler = PatientHandler()
            try await queue.withWorker(client: client, handler: handler) { _ in try await body(queue, handler) }
            await client.shutdown()
            await proxy.stop()
        }
    }

    /// Whether the worker has subscribed, and has sent the heartbeat that follows, on a connection of its own.
    private func hasBeaten(_ queue: TestQueue) async throws -> Bool {
        let clients = try await queue.raw("CLIENT", "LIST").string?.split(separator: "\n") ?? []
        let calls = clients.filter { $0.contains(" name=\(queue.name) ") && $0.contains(" cmd=fcall ") }
        return calls.count == 2
    }

    private func give(_ order: Order, _ queue: TestQueue) async throws {
        switch order {
        case .cancel: try await queue.handle.cancelTask("t")
        case .drain: try await queue.handle.drainWorker("w1")
        }
    }

    /// Waits until the worker has obeyed.
    private func expect(_ order: Order, _ queue: TestQueue, _ handler: PatientHandler) async throws {
        let hasObeyed = try await eventually(within: .seconds(30)) {
            switch order {
            case .cancel: handler.cancelled == 1
            case .drain: try await queue.handle.getWorkers().isEmpty
            }
        }
        #expect(hasObeyed)
    }

    @Test(arguments: Order.allCases, [1, 3])
    func anOrderBeforeTheFirstSubscriptionIsObeyed(order: Order, count: Int) async throws {
        let losses = Losses(.max)
        try await run(losing: losses) { queue, handler in
            if order == .cancel { try await queue.submit("t") }
            let isThere = try await eventually(within: .seconds(30)) {
                let isReady = try await order == .cancel ? handler.running == 1 : !queue.handle.getWorkers().isEmpty
                return isReady && losses.count > 0
            }
            #expect(isThere)
            try await give(order, queue)
            losses.expect(count)
            try await expect(order, queue, handler)
        }
    }

    /// The order itself is the first that is lost, and the replies to the next subscriptions are the others.
    @Test(arguments: Order.allCases, [1, 3])
    func anOrderThatIsLostWithTheSubscriptionIsObeyed(order: Order, count: Int) async throws {
        let losses = Losses(0)
        try await run(losing: losses) { queue, handler in
            if order == .cancel {
                try await queue.submit("t")
                #expect(try await eventually(within: .seconds(30)) { handler.running == 1 })
            }
            #expect(try await eventually(within: .seconds(30)) { try await hasBeaten(queue) })
            losses.expect(count)
            try await give(order, queue)
            try await expect(order, queue, handler)
        }
    }

    /// Heartbeats do not arrive for a while, and then some more are lost.
    @Test(arguments: [0, 1, 3]) func aFailedHeartbeatIsRepeatedSoon(count: Int) async throws {
        let losses = Losses(0)
        try await run(losing: losses, .commands, .request) { queue, handler in
            try await queue.submit("t")
            let isReady = try await eventually(within: .seconds(30)) {
                let hasBeaten = try await hasBeaten(queue)
                return handler.running == 1 && hasBeaten
            }
            #expect(isReady)
            // A busy worker sends nothing else.
            losses.expect(.max)
            try await queue.raw("CLIENT", "KILL", "TYPE", "pubsub")
            #expect(try await eventually(within: .seconds(30)) { losses.count > 0 })
            let expiry = try await queue.raw("ZSCORE", "{}workers", "w1").int ?? 0
            losses.expect(count)
            let isRenewed = try await eventually(within: .seconds(30)) {
                try await (queue.raw("ZSCORE", "{}workers", "w1").int ?? 0) > expiry
            }
            #expect(isRenewed && expiry > 0)
            try await queue.handle.cancelTask("t")
        }
    }
}

/// Runs each attempt until it is cancelled, and counts the cancellations.
final class PatientHandler: TaskHandler {
    private let counts = Mutex((running: 0, cancelled: 0))

    func run(_ attempt: Attempt) async -> AttemptOutcome {
        counts.withLock { $0.running += 1 }
        // The sleep ends early only when the attempt is cancelled.
        try? await Task.sleep(for: .seconds(600))
        counts.withLock { counts in
            counts.running -= 1
            counts.cancelled += 1
        }
        return .completed()
    }

    var running: Int { counts.withLock { $0.running } }
    var cancelled: Int { counts.withLock { $0.cancelled } }
}
