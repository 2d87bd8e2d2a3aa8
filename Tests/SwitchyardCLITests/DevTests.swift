import ChildProcess
import Foundation
import JSON
import Testing

@testable import SwitchyardCLI

/// `switchyard dev` is one process tree: which processes run, and what remains after each kind of end.
@Suite(.serialized) struct DevTests {
    private func children(of dev: DevServer) async throws -> [Int32] {
        let workers = try await Tool.eventually("both workers are registered") { () -> [String: Int32]? in
            let workers = try await dev.workers()
            return workers.count == 2 ? workers : nil
        }
        let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
        let info = try await ChildProcess.start(
            .init(
                arguments: ["redis-cli", "-s", String(socket), "info", "server"],
                environment: ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? ""]))
        let text = try await Running(info).end().stdout
        let redis = try #require(text.firstMatch(of: #/process_id:(\d+)/#).flatMap { Int32($0.1) })
        return workers.values + [redis]
    }

    private func expectAllGone(_ processes: [Int32]) async throws {
        _ = try await Tool.eventually("\(processes) are gone", within: .seconds(15)) {
            processes.contains(where: Tool.isAlive) ? nil : true
        }
    }

    @Test(arguments: [SIGINT, SIGTERM]) func aSignalEndsEverythingAndNothingIsLeft(signal: Int32) async throws {
        let dev = try await DevServer.start()
        let processes = try await children(of: dev)
        let task = try await dev.run(["submit", "--", "sleep", "600"]).line
        _ = try await Tool.eventually("the task runs") {
            try await dev.run(["get", task, "-o", "json"]).json()["state"]?.plainText == "running" ? true : nil
        }
        let start = ContinuousClock.now
        dev.running.process.signalGroup(signal)
        let end = try await dev.running.end(within: .seconds(20))
        #expect(end.exitCode == 0, "\(end.stderr)")
        #expect(ContinuousClock.now - start < .seconds(12))
        try await expectAllGone(processes)
    }

    @Test func nothingIsLeftWhenItIsKilled() async throws {
        let dev = try await DevServer.start()
        let processes = try await children(of: dev)
        // Kills the process alone: its group has no other member anyway, and the guardian must work without the test's
        // help.
        kill(dev.running.process.processID, SIGKILL)
        try await expectAllGone(processes)
    }

    @Test func aWorkerThatDiesIsStartedAgain() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1"])
        let first = try await Tool.eventually("the worker is registered") { try await dev.workers()["dev-1"] }
        kill(first, SIGKILL)
        let second = try await Tool.eventually("another is registered") { () -> Int32? in
            let now = try await dev.workers()["dev-1"]
            return now == first ? nil : now
        }
        #expect(second != first)
        #expect(try await dev.run(["submit", "--wait", "--", "true"]).exitCode == 0)
    }

    @Test func aSecondStartFindsTheDataOfTheFirst() async throws {
        let data = FileManager.default.temporaryDirectory.appendingPathComponent("switchyard-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: data) }
        let first = try await DevServer.start(["--data", data])
        let id = try await first.run(["submit", "--wait", "--", "echo", "kept"]).line
        let second = try await Tool.run(["dev", "--listen", "127.0.0.1:0", "--data", data])
        #expect(second.exitCode == 1)
        #expect(second.stderr.contains("in use by process"))
        #expect(try await first.stop().exitCode == 0)

        let third = try await DevServer.start(["--data", data])
        #expect(try await third.run(["get", id, "-o", "json"]).json()["state"]?.plainText == "completed")
        #expect(try await third.run(["logs", id]).stdout == "kept\n")
        #expect(try await third.stop().exitCode == 0)
    }

    @Test func aPortInUseIsToldAndNothingIsLeftRunning() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let port = try #require(dev.url.split(separator: ":").last)
        let second = try await Tool.run(["dev", "--ephemeral", "--listen", "127.0.0.1:\(port)"])
        #expect(second.exitCode == 1)
        #expect(second.stderr.contains("127.0.0.1:\(port) is in use"), "\(second.stderr)")
    }

    @Test func anAddressThatOthersReachIsRefused() async throws {
        let output = try await Tool.run(["serve", "--listen", "0.0.0.0:0"])
        #expect(output.exitCode == 64)
        #expect(output.stderr.contains("--insecure-public"))
    }

    @Test func serveUsesTheRedisThatItIsGivenAndLogsJSON() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1"])
        let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
        let replica = try await Tool.start(
            ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"],
            environment: ["SWITCHYARD_REDIS": "unix://\(socket)"])
        let url = try await Tool.eventually("the replica listens") {
            replica.stderr.firstMatch(of: #/"url":"(http:[^"]+)"/#).map { String($0.1) }
        }
        let submitted = try await Tool.run(["submit", "--wait", "--", "true"], server: url)
        #expect(submitted.exitCode == 0, "\(submitted.stderr)")
        replica.process.signalGroup(SIGTERM)
        let end = try await replica.end()
        #expect(end.exitCode == 0)
        for line in end.stderr.split(separator: "\n") {
            #expect(throws: Never.self) { try JSONDecoder().decode(JSONValue.self, from: Data(line.utf8)) }
        }
    }

    /// A fresh `dev` runs tasks that require something of the machine. Its workers share the machine.
    @Test(arguments: [1, 2]) func tasksThatNeedSomethingOfTheMachineRun(workers: Int) async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "\(workers)"])
        let share = HostDetection.current().share(of: workers)
        let os = try #require(share.labels.first)
        let task = try await dev.run([
            "submit", "--wait", "--cpu", "\(min(1, share.cpu))", "--memory", "1M", "--requires", os, "--", "true",
        ])
        #expect(task.exitCode == 0, "\(task.stderr)")
        let whole = try await dev.run([
            "submit", "--wait", "--cpu", "\(share.cpu)", "--memory-mb", "\(share.memoryMB)", "--", "true",
        ])
        #expect(whole.exitCode == 0, "\(whole.stderr)")
        let more = try await dev.run(["submit", "--if-no-workers", "reject", "--cpu", "\(share.cpu + 1)", "--", "true"])
        #expect(more.exitCode == 7, "\(more.stderr)")
        #expect(try await dev.run(["submit", "--wait", "--", "true"]).exitCode == 0)
    }
}
