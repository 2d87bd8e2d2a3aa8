import ChildProcess
import Foundation
import NIOCore
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// The workers in `scripts/workers`. Each runs a task that completes, one that fails, and one that is cancelled.
@Suite struct ScriptWorkerTests {
    private static let scripts = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "scripts/workers").path

    /// The payloads of the three tasks.
    private struct Orders {
        var complete, fail, wait: String
    }

    @Test func workerInBashCompletesFailsAndIsCancelled() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await run(
                queue, ["\(Self.scripts)/worker.sh", "bash-1", queue.name], ["SWITCHYARD_REDIS": queue.redis.url],
                Orders(complete: "echo it worked", fail: "exit 7", wait: "sleep 600"))
            let failed = try await queue.handle.getTask("failing")
            #expect(failed.exitCode == 7)
        }
    }

    @Test func workerInPythonCompletesFailsAndIsCancelled() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await run(
                queue,
                [
                    try await pythonWithRedis(), "\(Self.scripts)/worker.py", "python-1", "--queue", queue.name,
                    "--slots", "2", "--redis", queue.redis.url,
                ], [:],
                Orders(
                    complete: #"{"echo": "it worked"}"#, fail: #"{"fail": "as asked"}"#, wait: #"{"sleep": 600}"#))
            let failed = try await queue.handle.getTask("failing")
            #expect(failed.failure == TaskFailure(code: "RuntimeError", message: "as asked"))
        }
    }

    /// Each process has a nonce of its own: the queue refuses the calls of the former one, which ends its work.
    @Test(arguments: ["worker.sh", "worker.py"])
    func aSecondProcessWithItsIDReplacesIt(script: String) async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            let file = FileManager.default.temporaryDirectory.appending(path: queue.name).path
            defer { try? FileManager.default.removeItem(atPath: file) }
            func start() async throws -> ChildProcess {
                let path = "\(Self.scripts)/\(script)"
                let isBash = script.hasSuffix(".sh")
                let child = try await ChildProcess.start(
                    ChildProcess.Command(
                        arguments: isBash
                            ? [path, "same", queue.name]
                            : [try await pythonWithRedis(), path, "same", "--queue", queue.name],
                        environment: [
                            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "HOME": "/tmp",
                            "SWITCHYARD_REDIS": queue.redis.url,
                        ]))
                child.discardOutput()
                return child
            }
            func written() -> [String] {
                let text = try? String(contentsOfFile: file, encoding: .utf8)
                return (text ?? "").split(separator: "\n").map(String.init)
            }
            func waitUntil(_ what: Comment, _ isTrue: () async throws -> Bool) async throws {
                let deadline = ContinuousClock.now + .seconds(40)
                while try await !isTrue() {
                    try #require(ContinuousClock.now < deadline, what)
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            let first = try await start()
            try await queue.submit(
                command: ["sh", "-c", "while :; do echo $$ >> \(file); sleep 0.02; done"], id: "long"
            ) { $0.maxRetries = 5 }
            try await waitUntil("the first runs it") { !written().isEmpty }
            let second = try await start()
            try await waitUntil("the first ends: \(first.exitStatus?.description ?? "it runs")") {
                first.exitStatus != nil
            }
            #expect(first.exitStatus?.isSuccess == false)
            try await waitUntil("the second runs it") { Set(written()).count == 2 }
            // The first's process has ended: what follows is the second's alone.
            let before = written()
            try await waitUntil("it goes on") { written().count > before.count + 10 }
            let after = Set(written().dropFirst(before.count))
            #expect(after.count == 1 && after.first != before.first, "\(before.first ?? ""), \(after)")
            #expect(try await queue.handle.getTask("long").attempts.map(\.outcome).first == "lost")
            try await queue.handle.cancelTask("long")
            await second.terminate(grace: .seconds(10))
        }
    }

    private func run(
        _ queue: TestQueue, _ arguments: [String], _ environment: [String: String], _ orders: Orders
    ) async throws {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let worker = try await ChildProcess.start(
            ChildProcess.Command(
                arguments: arguments,
                environment: environment.merging(["PATH": path, "HOME": "/tmp"]) { old, _ in old }))
        let output = Task { await worker.output.reduce(into: "") { $0 += String(decoding: $1.bytes, as: UTF8.self) } }

        for (id, payload) in [("completing", orders.complete), ("failing", orders.fail), ("waiting", orders.wait)] {
            try await queue.submit(command: [], id: id) { $0.request.payload = ByteBuffer(string: payload) }
        }
        let completed = try await queue.ended("completing")
        #expect(completed.state == .completed)
        #expect(completed.result.map { String(buffer: $0) }?.contains("it worked") == true)
        #expect(try await queue.ended("failing").state == .failed)
        #expect(try await queue.running("waiting").state == .running)
        try await queue.handle.cancelTask("waiting")

        // The worker can run another task, and drains on SIGTERM.
        try await queue.submit(command: [], id: "last") { $0.request.payload = ByteBuffer(string: orders.complete) }
        #expect(try await queue.ended("last").state == .completed)
        #expect(try await queue.handle.getTask("waiting").state == .cancelled)
        kill(worker.processID, SIGTERM)
        let status = await worker.waitForExit()
        let words = await output.value
        #expect(status.isSuccess, "\(status): \(words)")
        #expect(try await queue.handle.getWorkers().isEmpty)
    }

    /// Returns the first python3 that has redis-py; `scripts/prepare --tests` installs it for Debian's python3.
    private func pythonWithRedis() async throws -> String {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        for python in ["python3", "/usr/bin/python3"] {
            let probe = try await ChildProcess.start(
                ChildProcess.Command(
                    arguments: [python, "-c", "import redis"], environment: ["PATH": path, "HOME": "/tmp"]))
            probe.discardOutput()
            if await probe.waitForExit().isSuccess { return python }
        }
        Issue.record("no python3 has redis-py: scripts/prepare --tests installs it")
        return "python3"
    }
}
