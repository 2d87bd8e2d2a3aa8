import ChildProcess
import Foundation
import JSON
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// Real processes: a redis-server, replicas and workers, some of which are killed.
@Suite(.serialized) struct FarmTests {
    /// Seconds. The lease is short because the tests wait for its end.
    private static let lease = 2.0

    /// Three replicas on one Redis, with their URLs.
    private struct Farm {
        let redis: TestRedis
        let replicas: [(process: Running, url: String)]

        static func start() async throws -> Farm {
            let redis = try await TestRedis.start(.everySecond)
            var replicas: [(Running, String)] = []
            for _ in 0..<3 {
                let running = try await Tool.start([
                    "serve", "--redis", redis.url, "--listen", "127.0.0.1:0", "--lease", "\(FarmTests.lease)",
                    "--heartbeat", "0.5",
                ])
                let url = try await Tool.eventually("serve prints its URL: \(running.stderr)") {
                    (running.stdout + running.stderr).firstMatch(of: #/(127\.0\.0\.1:\d+)/#).map { "http://\($0.1)" }
                }
                replicas.append((running, url))
            }
            return Farm(redis: redis, replicas: replicas)
        }

        var url: String { replicas[0].url }

        func worker(_ id: String) async throws -> Running {
            let worker = try await Tool.start(["worker", "--redis", redis.url, "--id", id])
            _ = try await Tool.eventually("worker \(id) is registered: \(worker.stderr)") { () -> Bool? in
                let workers = try await Tool.run(["workers", "-o", "json"], server: url).json()["workers"]?.array ?? []
                return workers.contains { $0["worker_id"]?.plainText == id } ? true : nil
            }
            return worker
        }

        func task(_ id: String, server: String? = nil) async throws -> JSONValue {
            try await Tool.run(["get", id, "-o", "json"], server: server ?? url).json()
        }

        func stop() async {
            for replica in replicas { replica.process.process.signalGroup(SIGKILL) }
            await redis.stop()
        }
    }

    private func withFarm(_ body: (Farm) async throws -> Void) async throws {
        let farm = try await Farm.start()
        do {
            try await body(farm)
        } catch {
            await farm.stop()
            throw error
        }
        await farm.stop()
    }

    /// Submits a task, and returns its id and that of the worker on which it runs.
    private func running(_ farm: Farm, seconds: Double) async throws -> (task: String, worker: String) {
        let task = try await Tool.run(["submit", "--", "sleep", "\(seconds)"], server: farm.url).line
        let worker = try await Tool.eventually("\(task) runs") {
            let state = try await farm.task(task)
            return state["state"]?.plainText == "running" ? state["worker"]?.plainText : nil
        }
        return (task, worker)
    }

    @Test func theTaskOfAKilledWorkerRunsElsewhereWithinItsLeaseAndASecond() async throws {
        try await withFarm { farm in
            let workers = ["w1": try await farm.worker("w1"), "w2": try await farm.worker("w2")]
            let (task, first) = try await running(farm, seconds: 4)
            let killed = Date()
            kill(try #require(workers[first]).process.processID, SIGKILL)
            let again = try await Tool.eventually("\(task) runs elsewhere") { () -> JSONValue? in
                let state = try await farm.task(task)
                return state["attempt"]?.int == 2 && state["state"]?.plainText == "running" ? state : nil
            }
            #expect(again["worker"]?.plainText != first)
            let started = try Date(
                try #require(again["started_at"]?.plainText),
                strategy: .iso8601.year().month().day().time(includingFractionalSeconds: true))
            #expect(started.timeIntervalSince(killed) <= Self.lease + 1)
            #expect(again["attempts"]?.array?.first?["outcome"]?.plainText == "lost")
            #expect(try await Tool.run(["wait", task], server: farm.url).exitCode == 0)
        }
    }

    @Test func theLateReportOfAPausedWorkerIsRefused() async throws {
        try await withFarm { farm in
            let workers = ["w1": try await farm.worker("w1"), "w2": try await farm.worker("w2")]
            let (task, first) = try await running(farm, seconds: 1)
            let paused = try #require(workers[first])
            // Only the worker is stopped: its task's process ends meanwhile, so a report waits to be sent.
            kill(paused.process.processID, SIGSTOP)
            #expect(try await Tool.run(["wait", task], server: farm.url).exitCode == 0)
            let before = try await farm.task(task)
            #expect(before["worker"]?.plainText != first)
            kill(paused.process.processID, SIGCONT)
            _ = try await Tool.eventually("the worker is told: \(paused.stderr)") {
                paused.stderr.contains("counted this worker as lost") ? true : nil
            }
            #expect(try await farm.task(task) == before)
            // The worker registers again and continues.
            kill(try #require(workers.first { $0.key != first }).value.process.processID, SIGKILL)
            let next = try await Tool.run(["submit", "--wait", "--", "true"], server: farm.url)
            #expect(next.exitCode == 0, "\(next.stderr)")
        }
    }

    @Test func nobodyNoticesThatAReplicaIsKilled() async throws {
        try await withFarm { farm in
            _ = try await farm.worker("w1")
            var tasks: [String] = []
            for number in 0..<30 {
                if number == 10 { farm.replicas[0].process.process.signalGroup(SIGKILL) }
                let server = farm.replicas[1 + number % 2].url
                let submitted = try await Tool.run(["submit", "--", "true"], server: server)
                #expect(submitted.exitCode == 0, "\(submitted.stderr)")
                tasks.append(submitted.line)
            }
            #expect(try await Tool.run(["wait"] + tasks, server: farm.replicas[2].url).exitCode == 0)
        }
    }
}
