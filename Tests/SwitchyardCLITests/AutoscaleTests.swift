import Foundation
import Testing

@testable import SwitchyardCLI

/// `switchyard autoscale` against its own server: the size of the pool, and that no process remains.
@Suite(.serialized) struct AutoscaleTests {
    private struct Farm: Sendable {
        let dev: DevServer
        let socket: String

        static func start() async throws -> Farm {
            let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
            let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
            return Farm(dev: dev, socket: String(socket))
        }

        func autoscale(_ arguments: [String]) async throws -> Running {
            try await Tool.start(
                ["autoscale", "--interval", "0.2", "--cool-down", "1"] + arguments + [
                    "--", Tool.path, "worker", "--redis", "unix://\(socket)", "--id", "auto-{n}",
                ], server: dev.url)
        }

        func workers(_ count: Int) async throws -> [String: Int32] {
            try await Tool.eventually("\(count) workers") {
                let workers = try await dev.workers()
                return workers.count == count ? workers : nil
            }
        }

        func submit(_ arguments: [String]) async throws -> String {
            let output = try await dev.run(["submit"] + arguments)
            #expect(output.exitCode == 0, "\(output.stderr)")
            return output.line
        }
    }

    private func expectGone(_ processes: some Sequence<Int32>) async throws {
        let processes = Array(processes)
        _ = try await Tool.eventually("\(processes) are gone", within: .seconds(15)) {
            processes.contains(where: Tool.isAlive) ? nil : true
        }
    }

    @Test func thePoolGrowsWithTheBacklogAndShrinksToItsLeast() async throws {
        let farm = try await Farm.start()
        let pool = try await farm.autoscale(["--min", "1", "--max", "3"])
        _ = try await farm.workers(1)
        var tasks: [String] = []
        for _ in 0..<6 { tasks.append(try await farm.submit(["--", "sleep", "1.5"])) }
        let most = try await farm.workers(3)
        #expect(most.keys.sorted() == ["auto-1", "auto-2", "auto-3"])
        #expect(try await farm.dev.run(["wait"] + tasks).exitCode == 0)
        _ = try await farm.workers(1)
        for task in tasks {
            let task = try await farm.dev.run(["get", task, "-o", "json"]).json()
            #expect(task["attempt"]?.int == 1)
        }

        pool.process.signalGroup(SIGINT)
        let end = try await pool.end(within: .seconds(20))
        #expect(end.exitCode == 0, "\(end.stderr)")
        #expect(end.stderr.contains("more is wanted") && end.stderr.contains("less was wanted during the cool-down"))
        try await expectGone(most.values)
        #expect(try await farm.dev.workers().isEmpty)
    }

    /// The demand is that of another queue, so that it can fall to 0 while every worker is busy.
    @Test func runningTasksSurviveTheScaleDown() async throws {
        let farm = try await Farm.start()
        let wanted = [
            try await farm.submit(["--queue", "demand", "--", "true"]),
            try await farm.submit(["--queue", "demand", "--", "true"]),
        ]
        let pool = try await farm.autoscale(["--min", "0", "--max", "2", "--queue", "demand"])
        // The command of these workers names no queue, so they take tasks from the default one.
        let workers = try await Tool.eventually("two workers") { () -> [Int32]? in
            let listed = try await farm.dev.run(["workers", "--queue", "default", "-o", "json"]).json()
            let pids = listed["workers"]?.array?.compactMap { $0["pid"]?.int.map(Int32.init) } ?? []
            return pids.count == 2 ? pids : nil
        }
        let tasks = [
            try await farm.submit(["--", "sleep", "5"]), try await farm.submit(["--", "sleep", "5"]),
        ]
        for task in tasks {
            _ = try await Tool.eventually("\(task) runs") {
                try await farm.dev.run(["get", task, "-o", "json"]).json()["state"]?.plainText == "running" ? true : nil
            }
        }
        #expect(try await farm.dev.run(["cancel", "--queue", "demand"] + wanted).exitCode == 0)
        _ = try await Tool.eventually("both are drained") {
            pool.stderr.ranges(of: "worker drains").count == 2 ? true : nil
        }
        #expect(workers.allSatisfy(Tool.isAlive))
        #expect(try await farm.dev.run(["wait"] + tasks).exitCode == 0)
        for task in tasks {
            #expect(try await farm.dev.run(["get", task, "-o", "json"]).json()["attempt"]?.int == 1)
        }
        try await expectGone(workers)
        pool.process.signalGroup(SIGTERM)
        #expect(try await pool.end(within: .seconds(20)).exitCode == 0)
    }

    @Test func aCrashedWorkerIsStartedAgainAndNothingIsLeftWhenThePoolIsKilled() async throws {
        let farm = try await Farm.start()
        let pool = try await farm.autoscale(["--min", "1", "--max", "1"])
        let first = try #require(try await farm.workers(1)["auto-1"])
        kill(first, SIGKILL)
        let second = try await Tool.eventually("another is registered") { () -> Int32? in
            let now = try await farm.dev.workers()["auto-1"]
            return now == first ? nil : now
        }
        #expect(pool.stderr.contains("a worker ended and is started again"))
        kill(pool.process.processID, SIGKILL)
        try await expectGone([second])
    }

    @Test func anEndThatWaitsForATaskCanBeHastened() async throws {
        let farm = try await Farm.start()
        let pool = try await farm.autoscale(["--max", "1"])
        let task = try await farm.submit(["--", "sleep", "600"])
        _ = try await Tool.eventually("it runs") {
            try await farm.dev.run(["get", task, "-o", "json"]).json()["state"]?.plainText == "running" ? true : nil
        }
        let workers = try await farm.workers(1)
        pool.process.signalGroup(SIGINT)
        _ = try await Tool.eventually("it drains") { pool.stderr.contains("worker drains") ? true : nil }
        #expect(workers.values.allSatisfy(Tool.isAlive))
        pool.process.signalGroup(SIGQUIT)
        #expect(try await pool.end(within: .seconds(20)).exitCode == 130)
        try await expectGone(workers.values)
    }

    @Test func itKeepsItsLeastWhileTheServerIsAway() async throws {
        let pool = try await Tool.start(
            [
                "autoscale", "--min", "1", "--max", "2", "--interval", "0.1", "--", "sh", "-c",
                "echo here; exec sleep 60",
            ],
            server: "http://127.0.0.1:1")
        _ = try await Tool.eventually("the worker runs") { pool.stderr.contains("auto-1 | here") ? true : nil }
        #expect(pool.stderr.ranges(of: "the demand is not known").count == 1)
        pool.process.signalGroup(SIGINT)
        #expect(try await pool.end(within: .seconds(20)).exitCode == 0)
    }

    /// Another start of the same command would fail in the same way. Numbers above 1 are well: they drain.
    @Test(arguments: [1, 3]) func aUsageErrorOfAWorkerEndsThePool(count: Int) async throws {
        let pool = try await Tool.start(
            [
                "autoscale", "--min", "\(count)", "--max", "\(count)", "--interval", "0.1", "--", "sh", "-c",
                "trap 'echo drained; exit 0' TERM; test {n} != 1 || exec \(Tool.path) worker --slots 0 --nonsense; "
                    + "while :; do sleep 0.1; done",
            ],
            server: "http://127.0.0.1:1")
        let end = try await pool.end(within: .seconds(30))
        #expect(end.exitCode == 64, "\(end.stderr)")
        #expect(end.stderr.contains("switchyard: worker auto-1 exited with 64"), "\(end.stderr)")
        #expect(end.stderr.ranges(of: "--nonsense").count > 0, "the worker's own message is shown")
        #expect(!end.stderr.contains("is started again"), "\(end.stderr)")
    }

    /// Only 64 is a usage error: another code may be gone at the next start.
    @Test(arguments: [1, 63, 65]) func anyOtherExitCodeIsTriedAgain(code: Int) async throws {
        let pool = try await Tool.start(
            [
                "autoscale", "--min", "1", "--max", "1", "--interval", "0.1", "--", "sh", "-c",
                "echo here; exit \(code)",
            ],
            server: "http://127.0.0.1:1")
        _ = try await Tool.eventually("it is started three times: \(pool.stderr)") {
            pool.stderr.ranges(of: "auto-1 | here").count >= 3 ? true : nil
        }
        pool.process.signalGroup(SIGINT)
        #expect(try await pool.end(within: .seconds(20)).exitCode == 0)
    }
}
