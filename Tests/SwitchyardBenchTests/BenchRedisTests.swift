import Logging
import RedisClient
import SwitchyardTesting
import Testing

@testable import SwitchyardBench

@Suite struct BenchRedisTests {
    /// The user may connect and may not load functions.
    @Test(arguments: [1, 3]) func aServerThatRefusesTheLibraryKeepsNoConnection(times: Int) async throws {
        let redis = try await TestRedis.start()
        _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
        _ = try await redis.client.send(
            RedisCommand("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-function"))
        for _ in 0..<times {
            await #expect(throws: (any Error).self) {
                try await BenchRedis.open(
                    given: redis.url + "?user=limited&password=secret", logger: Logger(label: "test"))
            }
        }
        func connections() async throws -> Int {
            let list = try await redis.client.send(RedisCommand("CLIENT", "LIST")).string ?? ""
            return list.split(separator: "\n").count { $0.contains(" user=limited ") }
        }
        let deadline = ContinuousClock.now + .seconds(20)
        while try await connections() > 0, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(try await connections() == 0)
        await redis.stop()
    }
}
