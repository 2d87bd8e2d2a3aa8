import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// The first attempt of a call takes effect, but its reply does not arrive: Redis exceeds the command's time limit.
@Suite("Calls whose reply is lost")
struct LostReplyTests {
    private func withBusyRedis(
        _ situation: Situation, _ body: (SchedulerHandle, TestQueue) async throws -> Void
    ) async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis) { queue in
                try await queue.put("t", in: situation)
                var configuration = redis.client.configuration
                configuration.commandTimeout = .milliseconds(150)
                let client = RedisClient(configuration)
                let probe = RedisClient(configuration)
                let handle = try SchedulerHandle(queue: queue.name, client: client)
                _ = try await handle.getStats()
                let busy = """
                    local t = redis.call('TIME')
                    repeat local n = redis.call('TIME') until (n[1] - t[1]) * 1e6 + n[2] - t[2] > 1000000
                    """
                async let sleeping = redis.client.send(RedisCommand("EVAL", .string(busy), "0"))
                // Redis is busy with it when another client's command times out.
                #expect(try await eventually { (try? await probe.send(RedisCommand("PING"))) == nil })
                try await body(handle, queue)
                _ = try await sleeping
                await client.shutdown()
                await probe.shutdown()
            }
        }
    }

    @Test func haveSucceededIfTheTaskIsAsTheyLeaveIt() async throws {
        try await withBusyRedis(.pending) { handle, _ in
            let task = try await handle.cancelTask("t")
            #expect(task.state == .cancelled)
        }
        try await withBusyRedis(.failed) { handle, _ in
            let task = try await handle.retryTask("t")
            #expect(task.state == .pending)
        }
        try await withBusyRedis(.completed) { handle, queue in
            try await handle.purgeTask("t")
            let reply = try await queue.call("get", "task", "t")
            #expect(reply[0] == .null)
        }
        try await withBusyRedis(.pending) { handle, _ in
            let task = try await handle.changePriority("t", to: .low)
            #expect(task.priority == .low)
        }
    }

    @Test func areRefusedIfItIsNot() async throws {
        for function in ["cancel", "retry", "purge", "prioritize"] {
            // Retrying a running task succeeds: the first attempt of the call may have retried it.
            let situation: Situation = ["cancel": .failed, "retry": .completed][function] ?? .running
            try await withBusyRedis(situation) { handle, _ in
                try await expectError("InvalidStateTransition") {
                    switch function {
                    case "cancel": _ = try await handle.cancelTask("t")
                    case "retry": _ = try await handle.retryTask("t")
                    case "purge": try await handle.purgeTask("t")
                    default: _ = try await handle.changePriority("t", to: .low)
                    }
                }
            }
        }
    }
}
