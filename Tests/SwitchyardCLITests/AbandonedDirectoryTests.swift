import ChildProcess
import Foundation
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// What a worker with --workdir leaves when it is killed, and what its next start removes.
@Suite(.serialized) struct AbandonedDirectoryTests {
    private func worker(_ queue: TestQueue, _ id: String, _ workdir: String, _ flags: [String] = []) async throws
        -> Running
    {
        try await Tool.start(
            [
                "worker", "--redis", queue.redis.url, "--queue", queue.name, "--id", id, "--workdir", workdir,
                "--slots", "2",
            ] + flags)
    }

    private func submit(_ queue: TestQueue, _ id: String, _ script: String) async throws {
        var request = BuildRequest()
        request.command = ["sh", "-c", script]
        var task = QueuedTask(request, id: id)
        task.maxRetries = 0
        _ = try await queue.handle.addTask(task)
    }

    private func names(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path).sorted()
    }

    /// The tasks of the directories, without the suffix that makes a name unique.
    private func tasks(_ path: String) throws -> [String] { try names(path).map { String($0.prefix { $0 != "." }) } }

    @Test func theNextStartRemovesWhatIsItsOwnAndNothingElse() async throws {
        let workdir = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString.prefix(8))").path
        defer { try? FileManager.default.removeItem(atPath: workdir) }
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            let first = try await worker(queue, "one", workdir, ["--keep-failed"])
            try await submit(queue, "kept", "echo precious > file; exit 1")
            _ = try await queue.handle.waitForTask("kept", timeout: .seconds(30)) { $0.state == .failed }
            for id in ["a", "b"] {
                let script = "mkdir -p deep/er; echo x > deep/er/file; chmod 500 deep/er deep; sleep 600"
                try await submit(queue, id, script)
            }
            _ = try await Tool.eventually("both run: \(first.stderr)") {
                try tasks(workdir) == ["a", "b", "kept"]
                    && (try names(workdir).dropLast().allSatisfy {
                        FileManager.default.fileExists(atPath: "\(workdir)/\($0)/work/deep/er/file")
                    }) ? true : nil
            }
            let other = try await worker(queue, "another", workdir)
            try await submit(queue, "other", "sleep 600")
            _ = try await Tool.eventually("the other's task runs") {
                try await queue.handle.getTask("other").state == .running ? true : nil
            }
            // Files of people, and directories that look like one of an attempt.
            for path in ["mine", "a.1.XXXXXX/work", "b.1.YYYYYY"] {
                try FileManager.default.createDirectory(
                    atPath: "\(workdir)/\(path)", withIntermediateDirectories: true)
            }
            try Data("somebody".utf8).write(to: URL(filePath: "\(workdir)/mine/worker"))
            try Data().write(to: URL(filePath: "\(workdir)/b.1.YYYYYY/worker"))

            kill(first.process.processID, SIGKILL)
            _ = try await first.end()
            #expect(try tasks(workdir).filter { ["a", "b"].contains($0) }.count == 4, "the kill left them")
            // A worker with another id does not touch them.
            let third = try await worker(queue, "on", workdir)
            _ = try await Tool.eventually("it runs: \(third.stderr)") {
                third.stderr.contains("worker registered") ? true : nil
            }
            third.process.signalGroup(SIGTERM)
            _ = try await third.end()
            #expect(try tasks(workdir).filter { ["a", "b"].contains($0) }.count == 4)

            let again = try await worker(queue, "one", workdir)
            _ = try await Tool.eventually("they are removed: \(again.stderr)") {
                again.stderr.contains("removed the directories of attempts of a killed worker") ? true : nil
            }
            #expect(again.stderr.contains("count=2"), "\(again.stderr)")
            let left = try names(workdir).filter { !$0.hasPrefix("kept.1.") && !$0.hasPrefix("other.1.") }
            // The tasks wait for another delivery, or run again in new directories.
            for name in ["a.1.XXXXXX", "b.1.YYYYYY", "mine"] { #expect(left.contains(name), "\(left)") }
            #expect(try names(workdir).contains { $0.hasPrefix("kept.1.") }, "what a person wants to see is kept")
            #expect(try names(workdir).contains { $0.hasPrefix("other.1.") }, "another worker's")
            #expect(try await queue.handle.getTask("other").state == .running)
            for worker in [again, other] { worker.process.signalGroup(SIGKILL) }
            for worker in [again, other] { _ = try await worker.end() }
        }
    }

    /// A live process with the same id has its directories; the one that replaces it leaves them alone.
    @Test func directoriesOfALiveProcessAreLeftAlone() async throws {
        let workdir = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString.prefix(8))").path
        defer { try? FileManager.default.removeItem(atPath: workdir) }
        try await TestQueue.run(settings: ["retry_delay_ms": 0]) { queue in
            let first = try await worker(queue, "one", workdir)
            try await submit(queue, "a", "sleep 600")
            _ = try await Tool.eventually("it runs") {
                try await queue.handle.getTask("a").state == .running ? true : nil
            }
            kill(first.process.processID, SIGSTOP)
            let directory = try #require(try names(workdir).first)
            let second = try await Tool.start([
                "worker", "--redis", queue.redis.url, "--queue", queue.name + "x", "--id", "one", "--workdir", workdir,
            ])
            _ = try await Tool.eventually("the second runs: \(second.stderr)") {
                second.stderr.contains("worker registered") ? true : nil
            }
            second.process.signalGroup(SIGTERM)
            _ = try await second.end()
            #expect(try names(workdir) == [directory])
            for worker in [first] { worker.process.signalGroup(SIGKILL) }
            _ = try await first.end()
        }
    }
}
