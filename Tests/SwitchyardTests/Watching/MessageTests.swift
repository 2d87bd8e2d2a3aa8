import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Published messages")
struct MessageTests {
    @Test func anEndIsPublishedAsAResultAndAMoveAsAnEvent() async throws {
        try await TestQueue.run { queue in
            let results = try await queue.redis.client.subscribe(to: [queue.keys.results])
            let events = try await queue.redis.client.subscribe(to: [queue.keys.events])
            _ = try await queue.worker("w")
            try await queue.submit("t")
            #expect(try await events.firstMessage() == "t pending 0")
            try await queue.pull("w", start: true)
            try await queue.finish("w", "t", attempt: 1, "completed")
            #expect(try await results.firstMessage() == "t completed 1")
        }
    }

    @Test func oneCallPublishesItsResultsInOneMessage() async throws {
        try await TestQueue.run { queue in
            let results = try await queue.redis.client.subscribe(to: [queue.keys.results])
            try await queue.call("submit", "task", "a", "task", "b")
            try await queue.call("cancel", "task", "a", "task", "b")
            #expect(try await results.firstMessage() == "a cancelled 0\nb cancelled 0")
        }
    }

    @Test func whoWaitsForATaskIsWokenByItsEnd() async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: .running)
            async let waited = queue.handle.waitForTask("t", timeout: .seconds(30)) { $0.state.isTerminal }
            try await queue.finish(TestQueue.holder, "t", attempt: 1, "completed")
            #expect(try await waited.state == .completed)
        }
    }

    @Test func aReportPublishedByAWorkerIsAppliedOnceByTwoReplicas() async throws {
        try await TestQueue.run(settings: ["lease_ms": 60_000, "heartbeat_ms": 1000]) { queue in
            try await queue.put("t", in: .running)
            // A client subscribes to a channel once, so each replica has its own.
            let clients = try (0..<2).map { _ in try queue.redis.makeClient() }
            let replicas = try clients.map { client in
                try TaskScheduler(client: client, queues: [queue.name], logger: .silent)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for replica in replicas { group.addTask { try await replica.run() } }
                let channel = queue.keys.reports
                let report = """
                    {"worker":"\(TestQueue.holder)","task":"t","attempt":1,"outcome":"completed","result":"done"}
                    """
                // PUBLISH returns the number of subscribers: a worker publishes until there is one.
                let heard = try await eventually {
                    try await queue.raw("PUBSUB", "NUMSUB", channel)[1]?.int == 2
                }
                #expect(heard)
                try await queue.raw("PUBLISH", channel, "not JSON")
                try await queue.raw("PUBLISH", channel, report)
                try await queue.raw("PUBLISH", channel, report)
                let ended = try await eventually { try await queue.handle.getTask("t").state == .completed }
                #expect(ended)
                group.cancelAll()
            }
            for client in clients { await client.shutdown() }
            let task = try await queue.handle.getTask("t")
            #expect(task.result == ByteBuffer(string: "done"))
            #expect(try await queue.stats().completed == 1)
        }
    }
}
