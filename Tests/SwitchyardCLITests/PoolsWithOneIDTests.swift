import ChildProcess
import Foundation
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// Two supervised pools whose workers have the same ids would replace each other's workers for ever.
@Suite(.serialized) struct PoolsWithOneIDTests {
    @Test(arguments: ["dev", "autoscale"]) func oneOfThemEndsAndTheOtherGoesOn(verb: String) async throws {
        try await TestRedis.run { redis in
            func start() async throws -> Running {
                let arguments =
                    verb == "dev"
                    ? ["dev", "--listen", "127.0.0.1:0", "--workers", "1"]
                    : ["autoscale", "--min", "1", "--max", "1", "--", Tool.path, "worker", "--id", "dev-{n}"]
                return try await Tool.start(
                    arguments, server: "http://127.0.0.1:1", environment: ["SWITCHYARD_REDIS": redis.url])
            }
            let pools = [try await start(), try await start()]
            let (ended, left) = try await Tool.eventually("one pool ends", within: .seconds(120)) {
                () -> (Running, Running)? in
                if pools[0].process.exitStatus != nil { return (pools[0], pools[1]) }
                return pools[1].process.exitStatus == nil ? nil : (pools[1], pools[0])
            }
            let end = try await ended.end()
            #expect(end.exitCode == 8, "\(end.stderr)")
            #expect(end.stderr.contains("was replaced 3 times in a row by another process"), "\(end.stderr)")
            #expect(end.stderr.contains("End one of"), "\(end.stderr)")
            // The other pool has its worker, and keeps it.
            let queue = try SchedulerHandle(queue: "default", client: redis.client, logger: TestRedis.quiet)
            _ = try await Tool.eventually("the other pool's worker is registered") {
                try await queue.getWorkers().count == 1 ? true : nil
            }
            #expect(left.process.exitStatus == nil, "\(left.stderr)")
            left.process.signalGroup(SIGINT)
            #expect(try await left.end(within: .seconds(30)).exitCode == 0)
        }
    }

    /// A worker that somebody starts by hand replaces one of a pool once; that is no reason to end the pool.
    @Test func aPoolOutlivesASingleReplacement() async throws {
        try await TestRedis.run { redis in
            let environment = ["SWITCHYARD_REDIS": redis.url]
            let pool = try await Tool.start(
                ["dev", "--listen", "127.0.0.1:0", "--workers", "1"], environment: environment)
            _ = try await Tool.eventually("its worker: \(pool.stderr)") {
                pool.stderr.contains("worker registered") ? true : nil
            }
            let byHand = try await Tool.start(["worker", "--id", "dev-1"], environment: environment)
            #expect(try await byHand.end(within: .seconds(60)).exitCode == 5, "\(byHand.stderr)")
            #expect(pool.process.exitStatus == nil, "\(pool.stderr)")
            pool.process.signalGroup(SIGINT)
            #expect(try await pool.end(within: .seconds(30)).exitCode == 0)
        }
    }
}
