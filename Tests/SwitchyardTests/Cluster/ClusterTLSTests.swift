import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A Redis Cluster whose nodes speak only TLS, with clients and with each other.
extension RedisClusterTests {
    @Test func aBusyQueueSurvivesReshardingWithTLS() async throws {
        let directory = NSTemporaryDirectory() + "switchyard-certificate-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer {
            // What is left is in the system's directory of temporary files.
            try? FileManager.default.removeItem(atPath: directory)
        }
        let certificate = try await TestCertificate.make(in: directory)
        try await ClusterFarm.run(replicas: 0, certificate: certificate) { farm in
            #expect(farm.url.hasPrefix("rediss-cluster://"))
            let client = try farm.makeClient()
            do {
                try await FunctionLibrary(client: client, logger: TestRedis.quiet).ensureLoaded()
                let load = try ClusterLoad(client, partitions: 4)
                let slot = HashSlot.of(key: Keys(queue: load.name).prefix.utf8)
                try await load.run {
                    for _ in 0..<2 {
                        let count = load.accepted.count
                        #expect(try await eventually(within: .seconds(30)) { load.accepted.count > count + 50 })
                        try await farm.reshard(slot, to: try await Self.another(farm, than: slot), keysAtOnce: 30)
                    }
                }
                #expect(try await load.lost() == [])
                try await load.check(farm)
            } catch {
                await client.shutdown()
                throw error
            }
            await client.shutdown()
            try await expectFailure(farm.url.replacing("rediss-", with: "redis-"), "is for TLS only")
            let bare = String(farm.url.prefix { $0 != "?" })
            try await expectFailure(bare, "CERTIFICATE_VERIFY_FAILED")
            try await expectFailure(bare.replacing("rediss-", with: "redis-"), "cannot connect")
            try await expectFailure(bare + "?ca=/no/such.pem", "/no/such.pem")
        }
    }

    /// Expects that a client with this URL cannot connect.
    private func expectFailure(_ url: String, _ words: String) async throws {
        let error = await #expect(throws: (any Error).self, "\(url)") {
            let client = RedisClient(try RedisConfiguration(url: url))
            let result: Result<RESPValue, any Error>
            do {
                result = .success(try await client.send(RedisCommand("GET", "k"), deadline: .seconds(3)))
            } catch {
                result = .failure(error)
            }
            await client.shutdown()
            _ = try result.get()
        }
        #expect("\(error.map { "\($0)" } ?? "")".contains(words), "\(url)")
    }
}
