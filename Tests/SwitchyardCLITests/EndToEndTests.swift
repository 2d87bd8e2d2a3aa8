import Foundation
import Testing

@testable import SwitchyardCLI

/// The built command against its own server.
@Suite(.serialized) struct EndToEndTests {
    @Test func aSubmittedCommandRunsAndItsOutputCanBeRead() async throws {
        let dev = try await DevServer.start()
        let submitted = try await dev.run(["submit", "--wait", "--", "sh", "-c", "echo out; echo err >&2"])
        #expect(submitted.exitCode == 0, "\(submitted.stderr)")
        #expect(submitted.stderr.contains("completed in"))
        let logs = try await dev.run(["logs", submitted.line])
        #expect(logs.stdout == "out\n")
        #expect(logs.stderr == "err\n")
        let task = try await dev.run(["get", submitted.line, "-o", "json"]).json()
        #expect(task["state"]?.plainText == "completed")
        #expect(task["result"]?["exit_code"]?.int == 0)
        let table = try await dev.run(["get", submitted.line])
        #expect(table.stdout.contains("sh -c 'echo out; echo err >&2'"))
        #expect(try await dev.stop().exitCode == 0)
    }

    @Test func waitingExitsByHowTheTaskEnded() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--slots", "4"])
        let failed = try await dev.run(["submit", "--wait", "--max-retries", "0", "--", "sh", "-c", "exit 3"])
        #expect(failed.exitCode == 2)
        #expect(failed.stderr.contains("exit code 3"))
        let late = try await dev.run(
            ["submit", "--wait", "--timeout", "0.3", "--max-retries", "0", "--", "sleep", "60"])
        #expect(late.exitCode == 3)

        let long = try await dev.run(["submit", "--", "sleep", "60"]).line
        let waiting = try await Tool.start(["wait", long, "-o", "json"], server: dev.url)
        _ = try await Tool.eventually("the task runs") { waiting.stderr.contains("running on") ? true : nil }
        #expect(try await dev.run(["cancel", long]).exitCode == 0)
        let cancelled = try await waiting.end()
        #expect(cancelled.exitCode == 4)
        #expect(try cancelled.json()["state"]?.plainText == "cancelled")

        let good = try await dev.run(["submit", "--", "true"]).line
        #expect(try await dev.run(["wait", good]).exitCode == 0)
        #expect(try await dev.run(["wait", good, long, failed.line, late.line]).exitCode == 2)
        #expect(try await dev.run(["wait", good, "nobody"]).exitCode == 5)
    }

    @Test(arguments: [["after", "first"], ["first", "after"], ["after", "nobody", "first"]])
    func aTaskIsRetriedWithItsDependencyInAnyOrder(ids: [String]) async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        _ = try await dev.run(["submit", "--id", "first", "--", "true"])
        _ = try await dev.run(["submit", "--id", "after", "--depends-on", "first", "--", "true"])
        #expect(try await dev.run(["cancel", "first"]).exitCode == 0)
        let alone = try await dev.run(["retry", "after"])
        #expect(alone.exitCode == 8)
        #expect(alone.stderr.contains("its dependency first is cancelled; retry that too"))
        let both = try await dev.run(["retry"] + ids)
        #expect(both.exitCode == (ids.contains("nobody") ? 5 : 0))
        let told = both.stdout.split(separator: "\n").map(String.init)
        #expect(Set(told) == ["first  pending", "after  pending (dependencies)"], "\(both.stdout)")
        #expect(try await dev.run(["get", "after"]).stdout.contains("it waits for 1 task: first (pending)"))
    }

    @Test func eachRefusalHasItsExitCodeAndOneLine() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0", "--max-queue-length", "2"])
        let cases: [(arguments: [String], exitCode: Int32, says: String)] = [
            (["submit", "--if-no-workers", "reject", "--", "true"], 7, "NoWorkers"),
            (["submit", "--id", "a", "--", "true"], 0, ""),
            (["submit", "--id", "a", "--", "false"], 8, "TaskExists"),
            (["submit", "--", "true"], 0, ""),
            (["submit", "--", "true"], 6, "QueueFull"),
            (["get", "nobody"], 5, "TaskNotFound"),
            (["logs", "nobody"], 5, "TaskNotFound"),
            (["cancel", "a"], 0, ""),
            (["cancel", "a"], 8, "InvalidStateTransition"),
            (["retry", "a"], 0, ""),
            (["workers", "drain", "nobody"], 5, "WorkerNotFound"),
            (["submit", "--queue", "a b", "--", "true"], 64, "queue"),
            (["queue", "set", "no_such_setting=1"], 64, "no_such_setting"),
        ]
        for (arguments, exitCode, says) in cases {
            let output = try await dev.run(arguments)
            #expect(output.exitCode == exitCode, "\(arguments): \(output.stderr)")
            if exitCode != 0 {
                #expect(output.stderr.hasPrefix("switchyard: ") && output.stderr.contains(says), "\(arguments)")
                #expect(output.stdout.isEmpty, "\(arguments)")
            }
        }
    }

    @Test func aBatchIsFollowedAndWhatDidNotCompleteIsTold() async throws {
        let dev = try await DevServer.start()
        let lines = """
            {"command":["true"]}
            {"id":"bad","command":["false"],"max_retries":0}
            {"command":["true"]}
            """
        let batch = try await dev.run(["submit", "--file", "-", "--batch-id", "b1", "--wait"], input: lines)
        #expect(batch.exitCode == 2, "\(batch.stderr)")
        #expect(batch.line == "b1")
        #expect(batch.stderr.contains("3/3") && batch.stderr.contains("bad"))
        let listed = try await dev.run(["list", "--batch", "b1", "-o", "json"]).json()
        #expect(listed["tasks"]?.array?.count == 3)
        let unnamed = try await dev.run(
            ["submit", "--file", "-", "--wait", "-o", "json"], input: #"{"command":["true"]}"#)
        #expect(unnamed.exitCode == 0, "\(unnamed.stderr)")
        #expect(try unnamed.json()["completed"]?.int == 1)
    }

    @Test func logsAreFollowedToTheEnd() async throws {
        let dev = try await DevServer.start()
        let script = "for i in 1 2 3; do echo line $i; sleep 0.2; done"
        let id = try await dev.run(["submit", "--", "sh", "-c", script]).line
        let followed = try await dev.run(["logs", "-f", id])
        #expect(followed.exitCode == 0)
        #expect(followed.stdout == "line 1\nline 2\nline 3\n")
    }

    @Test func ctrlCWhileWaitingLeavesTheTaskRunning() async throws {
        let dev = try await DevServer.start()
        let waiting = try await Tool.start(["submit", "--wait", "--", "sleep", "60"], server: dev.url)
        _ = try await Tool.eventually("the task runs") { waiting.stderr.contains("running on") ? true : nil }
        waiting.process.signalGroup(SIGINT)
        let interrupted = try await waiting.end()
        #expect(interrupted.exitCode == 130)
        #expect(interrupted.stderr.contains("goes on"))
        #expect(try await dev.run(["get", interrupted.line, "-o", "json"]).json()["state"]?.plainText == "running")
    }

    @Test func theQueueCanBePausedWatchedAndResumed() async throws {
        let dev = try await DevServer.start()
        #expect(try await dev.run(["queue", "pause"]).exitCode == 0)
        let id = try await dev.run(["submit", "--", "true"]).line
        #expect(try await dev.run(["get", id]).stdout.contains("pending (paused)"))
        #expect(try await dev.run(["stats"]).stdout.contains("paused"))
        #expect(try await dev.run(["stats", "-o", "json"]).json()["pending_tasks"]?.int == 1)
        let watching = try await Tool.start(
            ["stats", "--watch", "--interval", "0.1", "-o", "json"], server: dev.url)
        _ = try await Tool.eventually("two showings") { watching.stdout.filter(\.isNewline).count > 2 ? true : nil }
        watching.process.signalGroup(SIGTERM)
        #expect(try await dev.run(["queue", "resume"]).exitCode == 0)
        #expect(try await dev.run(["wait", id]).exitCode == 0)
        let settings = try await dev.run(["queue", "set", "max_queue_length=7", "-o", "json"]).json()
        #expect(settings["max_queue_length"]?.int == 7)
    }

    @Test func aServerThatIsNotThereExitsWith69AndSaysHowToStartOne() async throws {
        let output = try await Tool.run(["queue", "pause"], server: "http://127.0.0.1:1")
        #expect(output.exitCode == 69)
        #expect(output.stderr.contains("http://127.0.0.1:1") && output.stderr.contains("switchyard dev"))
        let worker = try await Tool.run(["worker"])
        #expect(worker.exitCode == 64)
    }
}
