import ChildProcess
import Foundation
import JSON
import Testing

@testable import SwitchyardCLI

@Suite(.serialized) struct ScheduleTests {
    private static let page = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources/Switchyard/Switchyard.docc/Schedules.md")

    private func put(_ arguments: [String]) throws -> JSONValue {
        let command = try SwitchyardCommand.parseAsRoot(["schedule", "put"] + arguments)
        let put = try #require(command as? PutSchedule)
        return try JSONDecoder().decode(JSONValue.self, from: Data(try put.body().utf8))
    }

    @Test func theFlagsBecomeTheBody() throws {
        let body = try put(
            [
                "nightly", "--cron", "0 3 * * *", "--zone", "Europe/Berlin", "--missed", "once", "--timeout", "1m",
                "--", "make", "-j4",
            ])
        #expect(body.text.contains(#""cron":"0 3 * * *""#))
        #expect(body["zone"]?.plainText == "Europe/Berlin")
        #expect(body["missed"]?.plainText == "once")
        // The task has neither an id nor a queue.
        #expect(body["task"]?.plainText == #"{"command":["make","-j4"],"timeout_seconds":60}"#)
        #expect(try put(["s", "--cron", "@daily", "--repo", "r"]).text == #"{"cron":"@daily","task":{"repo":"r"}}"#)
    }

    @Test(arguments: [
        ["s", "--", "true"], ["--cron", "@daily", "--", "true"], ["s", "--cron", "@daily"],
        ["s", "--cron", "@daily", "--id", "a", "--", "true"],
        ["s", "--cron", "@daily", "--missed", "twice", "--", "true"],
        ["s", "--cron", "@daily", "--run-at", "2030-01-01T00:00:00Z", "--", "true"],
    ])
    func whatMakesNoScheduleIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try put(arguments) }
    }

    @Test func theExampleOfTheGuideRunsAndItsTaskIsDone() async throws {
        let text = try String(contentsOf: Self.page, encoding: .utf8)
        let block = try #require(try #/```sh\n(.+?)```/#.dotMatchesNewlines().firstMatch(in: text)).1
        let dev = try await DevServer.start()
        let directory = URL(filePath: Tool.path).deletingLastPathComponent().path
        let path = "\(directory):" + (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
        let shell = try await Running(
            ChildProcess.start(
                .init(
                    arguments: ["/bin/sh", "-ec", String(block)],
                    environment: ["PATH": path, "HOME": "/tmp", "SWITCHYARD_SERVER": dev.url], standardInput: .null))
        ).end()
        #expect(shell.exitCode == 0, "\(shell.stderr)")
        #expect(shell.stdout.contains("nightly  next "))
        #expect(shell.stdout.contains("make clean all"))
        #expect(shell.stdout.contains("nightly  removed"))
        let done = try await Tool.eventually("the schedule fires") {
            let tasks = try await dev.run(["list", "-o", "json"]).json()["tasks"]?.array ?? []
            return tasks.first { $0["state"]?.plainText == "completed" }
        }
        #expect(done["task_id"]?.plainText.hasPrefix("pulse.") == true)
        let listed = try await dev.run(["schedule", "list", "-o", "json"]).json()["schedules"]?.array
        #expect(listed?.map { $0["schedule_id"]?.plainText } == ["pulse"])
        #expect(try await dev.run(["schedule", "remove", "nightly"]).exitCode == 5)
        #expect(try await dev.run(["schedule", "put", "s", "--cron", "61 * * * *", "--", "true"]).exitCode == 64)
        _ = try await dev.stop()
    }
}
