import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// A worker that the queue does not know any more, as after the restore of a copy without it. Its pollers, its
/// heartbeats and its sleep hear of it at about the same time, and each registers it.
@Suite struct ForgottenWorkerTests {
    @Test(arguments: [(slots: 1, heartbeat: 50), (slots: 5, heartbeat: 20)])
    func fallsAsleepAgain(slots: Int, heartbeat: Int) async throws {
        let settings = ["lease_ms": 10_000, "heartbeat_ms": heartbeat, "retry_delay_ms": 0]
        try await TestQueue.run(settings: settings) { queue in
            // So that the calls of the loops overlap.
            let proxy = try await RedisProxy.start(to: queue.redis) { _, _ in
                .deliver(after: .milliseconds(Int.random(in: 0...15)))
            }
            let client = try proxy.makeClient()
            try await queue.withWorker(slots: slots, client: client, handler: NoOpHandler()) { _ in
                for round in 0..<40 {
                    // Sooner than a sleep ends by itself. Only a worker that the queue takes for asleep is woken.
                    let isAsleep = try await eventually(within: .seconds(15)) {
                        try await queue.raw("ZSCORE", "{}idle", "w1").string != nil
                    }
                    try #require(isAsleep, "round \(round)")
                    try await queue.call("deregister", "worker", "w1")
                    if round % 2 == 0 { try await queue.raw("LPUSH", "{}wake:w1", "1") }
                }
            }
            await client.shutdown()
            await proxy.stop()
        }
    }
}
