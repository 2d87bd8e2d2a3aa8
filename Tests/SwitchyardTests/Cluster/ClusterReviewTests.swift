import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

extension RedisClusterTests {
    /// Each node has its own users: one that may do everything on the queue's node may lack rights on another.
    @Test(arguments: ["no-publish", "no-function", "no-user"])
    func rightsAreCheckedOnEveryPrimary(lack: String) async throws {
        try await Self.run { farm, client in
            let queue = "rights"
            let home = try await farm.owner(of: HashSlot.of(key: Keys(queue: queue).prefix.utf8))
            let user = "r-\(lack)"
            let all: [RedisArgument] = ["reset", "on", ">secret", "~*", "&*", "+@all"]
            for node in farm.nodes {
                _ = try await node.client.send(RedisCommand("ACL", ["SETUSER", .string(user)] + all))
            }
            var configuration = client.configuration
            configuration.username = user
            configuration.password = "secret"
            let limited = RedisClient(configuration)
            let review = ClusterReview(limited)
            #expect(try await review.rights(on: queue, logger: TestRedis.quiet).map(\.level) == [.ok])

            let slot = HashSlot.of(key: Keys(queue: queue).prefix.utf8)
            let other = try await Self.another(farm, than: slot)
            let rule: [RedisArgument] =
                switch lack {
                case "no-publish": ["SETUSER", .string(user), "-spublish"]
                case "no-function": ["SETUSER", .string(user), "-fcall"]
                default: ["DELUSER", .string(user)]
                }
            _ = try await other.client.send(RedisCommand("ACL", rule))
            let findings = try await review.rights(on: queue, logger: TestRedis.quiet)
            #expect(findings.map(\.level) == [.fail], "\(findings)")
            #expect(findings.first?.message.contains(other.address) == true, "\(findings)")
            await limited.shutdown()

            // A user who is limited to one queue is told about that queue.
            for node in farm.nodes {
                _ = try await node.client.send(
                    RedisCommand(
                        "ACL", "SETUSER", .string(user), "reset", "on", ">secret", "~switchyard:{rights}:*", "&*",
                        "+@all"))
            }
            let named = RedisClient(configuration)
            let own = try await ClusterReview(named).rights(on: queue, logger: TestRedis.quiet)
            #expect(own.allSatisfy { $0.message.contains("node") == false }, "\(own) \(home.address)")
            await named.shutdown()
            for node in farm.nodes { _ = try await node.client.send(RedisCommand("ACL", "DELUSER", .string(user))) }
        }
    }
}
