import RedisClient
import SwitchyardTesting
import Testing

@Suite("Schedules whose hash is lost")
struct LostScheduleTests {
    @Test func goWhenTheyFire() async throws {
        try await TestQueue.run { queue in
            try await queue.call(
                "schedule", "schedule", "s", "cron", "* * * * *", "template", #"["task","x"]"#, "next", "1000")
            try await queue.raw("DEL", "{}schedule:s")
            #expect(try await queue.call("fire", "schedule", "s", "due", "1000", "next", "2000") == .null)
            #expect(try await queue.raw("ZSCORE", "{}schedules", "s") == .null)
            #expect(try await queue.number("pending") == 0)
        }
    }
}
