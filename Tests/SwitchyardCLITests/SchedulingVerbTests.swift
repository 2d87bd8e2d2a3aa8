import Foundation
import Testing

@testable import SwitchyardCLI

/// Verbs of scheduling beyond the examples of Scheduling.md: JSON output, refusals, and what scripts rely on.
@Suite(.serialized) struct SchedulingVerbTests {
    @Test func explainPassesTheServersReasonsThroughAndWatchesToTheEnd() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1"])
        #expect(try await dev.run(["queue", "pause"]).exitCode == 0)
        let id = try await dev.run(["submit", "--", "true"]).line
        let json = try await dev.run(["explain", id, "-o", "json"]).json()
        #expect(json["state"]?.plainText == "pending")
        #expect(json["reasons"]?.array?.first?["code"]?.plainText == "paused")
        let watching = try await Tool.start(["explain", id, "--watch", "--interval", "0.1"], server: dev.url)
        _ = try await Tool.eventually("it is shown") { watching.stdout.contains("paused") ? true : nil }
        #expect(try await dev.run(["queue", "resume"]).exitCode == 0)
        let end = try await watching.end()
        #expect(end.exitCode == 0)
        #expect(end.stdout.contains("\(id)  completed\n"))
        #expect(try await dev.run(["explain", "nobody"]).exitCode == 5)
    }

    @Test func whatAWorkerOffersReachesItsRegistration() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
        let worker = try await Tool.start([
            "worker", "--redis", "unix://\(socket)", "--id", "w", "--no-detect", "--label", "gpu", "--label",
            "os=linux", "--cpu",
            "2.5",
            "--memory-mb", "512", "--resource", "license=3", "--resource", "fpga=0.5",
        ])
        _ = try await Tool.eventually("it is registered") { try await dev.workers()["w"] }
        let listed = try await dev.run(["workers", "-o", "json"]).json()["workers"]?.array?.first
        #expect(listed?["labels"]?.array?.map(\.plainText) == ["gpu", "os=linux"])
        #expect(listed?["resources"]?.plainText == #"{"cpu":2.5,"memory_mb":512,"fpga":0.5,"license":3}"#)
        let table = try await dev.run(["workers"]).stdout
        #expect(table.contains("fpga=0.5, license=3") && table.contains("512 MB"), "\(table)")

        let id = try await dev.run(
            [
                "submit", "--requires", "gpu", "--cpu", "2", "--resource", "license=1", "--affinity-key", "a", "--",
                "true",
            ]
        ).line
        let details = try await dev.run(["get", id]).stdout
        #expect(details.contains("cpu=2, license=1") && details.contains("affinity a"), "\(details)")
        #expect(try await dev.run(["wait", id]).exitCode == 0)
        worker.process.signalGroup(SIGTERM)
        #expect(try await worker.end().exitCode == 0)
    }

    @Test func aWorkerThatDetectsNothingHasNoLabelsThatItWasNotGiven() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1", "--no-detect"])
        _ = try await Tool.eventually("it is registered") { try await dev.workers()["dev-1"] }
        let listed = try await dev.run(["workers", "-o", "json"]).json()["workers"]?.array?.first
        #expect(listed?["labels"]?.array?.isEmpty ?? true)
        #expect(listed?["class"]?.plainText ?? "" == "")
    }

    @Test func eachRefusalHasItsExitCode() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let cases: [(arguments: [String], exitCode: Int32, says: String)] = [
            (["submit", "--id", "a", "--", "true"], 0, ""),
            (["queue", "prioritize", "a", "critical"], 0, ""),
            (["queue", "prioritize", "nobody", "low"], 5, "TaskNotFound"),
            (["queue", "prioritize", "a", "urgent"], 64, ""),
            (["queue", "purge"], 64, ""),
            (["queue", "purge", "--confirm", "other"], 64, "nothing was deleted"),
            (["cancel", "--batch", "nobody"], 5, "TaskNotFound"),
            (["submit", "--depends-on", "nobody", "--", "true"], 64, "nobody"),
            (["submit", "--requires", "a=b=c", "--", "true"], 64, "requires"),
            (["submit", "--if-no-workers", "reject", "--requires", "gpu", "--", "true"], 7, "NoWorkers"),
            (["cancel", "a"], 0, ""),
            (["queue", "prioritize", "a", "low"], 8, "InvalidStateTransition"),
        ]
        for (arguments, exitCode, says) in cases {
            let output = try await dev.run(arguments)
            #expect(output.exitCode == exitCode, "\(arguments): \(output.stderr)")
            #expect(says.isEmpty || output.stderr.contains(says), "\(arguments): \(output.stderr)")
        }
        #expect(try await dev.run(["get", "a"]).exitCode == 0, "a refused purge deletes nothing")
        let cycle = """
            {"id":"x","command":["true"],"depends_on":["y"]}
            {"id":"y","command":["true"],"depends_on":["x"]}
            """
        let refused = try await dev.run(["submit", "--file", "-"], input: cycle)
        #expect(refused.exitCode == 64)
        #expect(refused.stderr.contains("x") && refused.stderr.contains("y"), "\(refused.stderr)")
    }

    @Test func aUniqueTaskIsAnsweredWithTheOneBefore() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let first = try await dev.run(["submit", "--unique-key", "k", "--", "true"])
        #expect(!first.stderr.contains("nothing was added"))
        let second = try await dev.run(["submit", "--unique-key", "k", "--", "true"])
        #expect(second.exitCode == 0)
        #expect(second.line == first.line)
        #expect(second.stderr == "nothing was added: task \(first.line) (pending) has this unique key already\n")
        let batch = try await dev.run(
            ["submit", "--file", "-"], input: #"{"command":["true"],"unique_key":"k"}"#)
        #expect(batch.stderr.contains("1 of the tasks were there already"), "\(batch.stderr)")
    }
}
