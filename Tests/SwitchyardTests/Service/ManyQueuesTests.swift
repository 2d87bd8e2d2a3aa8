import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A replica needs few connections, however many queues it serves.
@Suite("A replica of many queues")
struct ManyQueuesTests {
    @Test(arguments: [1, 200]) func needsOneSubscriptionForAll(count: Int) async throws {
        try await TestRedis.run { redis in
            let client = try redis.makeClient()
            let queues = (0..<count).map { "q\($0)" }
            let replica = try TaskScheduler(client: client, queues: queues, logger: .silent)
            let running = Task { try await replica.run() }
            let areSubscribed = try await eventually(within: .seconds(60)) {
                let channels = try await redis.client.send(RedisCommand("PUBSUB", "CHANNELS", "switchyard:*:reports"))
                return channels.array?.count == count
            }
            #expect(areSubscribed)
            let list = try await redis.client.send(RedisCommand("CLIENT", "LIST")).string ?? ""
            // The test's own one, and of the replica those for commands, for large replies and for subscriptions.
            #expect(list.split(separator: "\n").count <= 4, "\(list)")
            // A report for the last queue arrives.
            let handle = try SchedulerHandle(queue: queues[count - 1], client: redis.client, logger: .silent)
            let queue = TestQueue(queues[count - 1], handle: handle, on: redis)
            let worker = try await queue.worker("w")
            try await queue.submit("t")
            _ = try await worker.pull(max: 1, holding: 0)
            try await queue.raw(
                "PUBLISH", "{}reports", #"{"worker":"w","task":"t","attempt":1,"outcome":"completed"}"#)
            #expect(try await eventually(within: .seconds(30)) { try await handle.getTask("t").state == .completed })
            running.cancel()
            _ = await running.result
            await client.shutdown()
        }
    }
}
