import ChildProcess
import Foundation
import JSON
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// The built command on a Redis Cluster.
@Suite(.serialized, .timeLimit(.minutes(3))) struct ClusterCommandTests {
    private func serve(_ arguments: [String]) async throws -> (Running, String) {
        let running = try await Tool.start(["serve", "--listen", "127.0.0.1:0"] + arguments)
        let url = try await Tool.eventually("serve prints its URL: \(running.stderr)") {
            (running.stdout + running.stderr).firstMatch(of: #/(127\.0\.0\.1:\d+)\b[^,]*$/#.anchorsMatchLineEndings())
                .map { "http://\($0.1)" }
        }
        return (running, url)
    }

    @Test func aClusterThatIsGivenAsAServerIsRefusedWithTheWordsToUse() async throws {
        let farm = try await ClusterFarm.shared
        let node = farm.nodes[0].address
        let words = "redis-cluster://\(node)"
        for arguments in [["serve", "--listen", "127.0.0.1:0"], ["worker", "--no-op"], ["doctor"]] {
            let refused = try await Tool.run(arguments + ["--redis", "redis://\(node)"])
            #expect(refused.exitCode != 0)
            #expect(
                (refused.stdout + refused.stderr).contains(words), "\(arguments) \(refused.stdout)\(refused.stderr)")
        }
    }

    @Test func aServerThatIsGivenAsAClusterIsRefusedWithTheWordsToUse() async throws {
        let port = try ClusterNode.freePort()
        let redis = try await TestRedis.start(arguments: ["--bind", "127.0.0.1", "--port", "\(port)"])
        for arguments in [["serve", "--listen", "127.0.0.1:0"], ["worker", "--no-op"], ["doctor"]] {
            let refused = try await Tool.run(arguments + ["--redis", "redis-cluster://127.0.0.1:\(port)"])
            #expect(refused.exitCode != 0)
            let text = refused.stdout + refused.stderr
            #expect(text.contains("use redis://127.0.0.1:\(port)"), "\(arguments) \(text)")
        }
        await redis.stop()
    }

    /// A replica, a worker of the command and one in bash; a task that waits while its slot moves.
    @Test func aQueueIsServedFromEndToEnd() async throws {
        let farm = try await ClusterFarm.shared
        let redis = ["--redis", farm.url]
        let queue = "end-to-end"
        let (replica, url) = try await serve(redis + ["--queue", queue])
        let worker = try await Tool.start(["worker", "--id", "w", "--queue", queue] + redis)
        let submitted = try await Tool.run(
            ["submit", "--queue", queue, "--wait", "--", "sh", "-c", "echo out"], server: url)
        #expect(submitted.exitCode == 0, "\(submitted.stderr)")
        #expect(try await Tool.run(["logs", "--queue", queue, submitted.line], server: url).stdout == "out\n")

        let doctor = try await Tool.run(["doctor", "--queue", queue] + redis)
        #expect(doctor.stdout.contains("16384 hash slots"), "\(doctor.stdout)")
        for port in try await primaries(farm) { #expect(doctor.stdout.contains("library 127.0.0.1:\(port)")) }

        // While the slot moves, the health says so.
        let slot = HashSlot.of(key: Keys(queue: queue).prefix.utf8)
        let source = try await farm.owner(of: slot)
        let target = try #require(
            try await primaries(farm).compactMap { port in farm.nodes.first { $0.port == port } }.first {
                $0 !== source
            })
        let migration = try await farm.migration(of: slot, to: target)
        try await migration.begin()
        // Some keys are on the target: the source refuses calls from now on.
        _ = try await migration.moveKeys(3)
        let late = try await Tool.start(["submit", "--queue", queue, "--wait", "--", "true"], server: url)
        _ = try await Tool.eventually("the health says that the slot moves") { () -> Bool? in
            let health = try await Tool.shell("curl -s \(url)/v2/health").json()
            return health["reasons"]?.array?.contains { $0["code"]?.plainText == "slot_moving" } == true ? true : nil
        }
        let during = try await Tool.run(["doctor", "--queue", queue] + redis)
        #expect(during.exitCode == 1 && during.stdout.contains("16384 hash slots"), "\(during.stdout)")
        #expect(during.stdout.contains("\(queue) cannot be read"), "\(during.stdout)")
        while try await migration.moveKeys(100) {}
        try await migration.end()
        #expect(try await late.end().exitCode == 0, "\(late.stderr)")
        try await farm.waitUntilComplete()

        worker.process.signalGroup(SIGTERM)
        #expect(try await worker.end().exitCode == 0)
        let script = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../scripts/workers/worker.sh").standardized.path
        let other = try await ChildProcess.start(
            .init(
                arguments: ["/bin/bash", script, "sh-1", queue],
                environment: ["PATH": "/usr/bin:/bin", "SWITCHYARD_REDIS": farm.url]))
        let byScript = try await Tool.run(["submit", "--queue", queue, "--wait", "--", "true"], server: url)
        #expect(byScript.exitCode == 0, "\(byScript.stderr)")
        other.signalGroup(SIGKILL)
        _ = await other.waitForExit()
        replica.process.signalGroup(SIGTERM)
        #expect(try await replica.end().exitCode == 0)
    }

    private func primaries(_ farm: ClusterFarm) async throws -> [Int] {
        var ports: [Int] = []
        for node in farm.nodes {
            let role = try await node.client.send(RedisCommand("ROLE")).array
            if role?.first?.string == "master" { ports.append(node.port) }
        }
        return ports
    }
}
