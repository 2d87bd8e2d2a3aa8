import Foundation
import NIOCore
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

@Suite struct CommandTests {
    @Test func commandRunsAndItsOutputAndResultAreKept() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["sh", "-c", "echo out; echo err >&2"])
                let task = try await queue.ended(id)
                #expect(task.state == .completed)
                #expect(task.exitCode == 0)
                #expect(task.resultField("exit_code") as? Int == 0)
                #expect((task.resultField("duration_seconds") as? Double ?? -1) >= 0)
                let log = try await queue.handle.readLog(id)
                #expect(
                    Set(log.map { "\($0.stream): \(String(buffer: $0.data))" }) == ["stdout: out\n", "stderr: err\n"])
            }
        }
    }

    @Test func failureTellsTheExitCodeAndTheLastLineOfStderr() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["sh", "-c", "echo wrong thing >&2; exit 3"])
                let task = try await queue.ended(id)
                #expect(task.state == .failed)
                #expect(task.exitCode == 3)
                #expect(
                    task.failure
                        == TaskFailure(code: "ExitCode", message: "the command ended with exit code 3: wrong thing"))
            }
        }
    }

    @Test func failedTaskIsRetriedAndEachAttemptIsRecorded() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(
                    command: ["sh", "-c", "exit $((3 - SWITCHYARD_ATTEMPT))"], maxRetries: 2)
                let task = try await queue.ended(id)
                #expect(task.state == .completed)
                #expect(task.attempts.map(\.outcome) == ["failed", "failed", "completed"])
                #expect(task.attempts.map(\.exitCode) == [2, 1, 0])
            }
        }
    }

    @Test func missingProgramIsAFailureThatNamesIt() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["no-such-program-here"])
                let task = try await queue.ended(id)
                #expect(task.state == .failed)
                #expect(task.failure?.code == "CannotStart")
                #expect(task.failure?.message.contains("no-such-program-here: No such file or directory") == true)
            }
        }
    }

    @Test func noShellTouchesAnArgument() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["printf", "%s", "$(id); `id` && *"])
                #expect(try await queue.ended(id).state == .completed)
                #expect(try await queue.logText(id) == "$(id); `id` && *")
            }
        }
    }

    @Test func environmentDoesNotLeakTheWorkersVariables() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            setenv("SWITCHYARD_TEST_SECRET", "leaks", 1)
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["env"]) { $0.request.environment = ["COLOUR": "blue"] }
                let task = try await queue.ended(id)
                let lines = Set(try await queue.logText(id).split(separator: "\n").map(String.init))
                #expect(lines.contains("COLOUR=blue"))
                #expect(lines.contains("SWITCHYARD_TASK_ID=\(id)"))
                #expect(lines.contains("SWITCHYARD_ATTEMPT=\(task.attempt)"))
                #expect(lines.contains("SWITCHYARD_WORKER_ID=w1"))
                #expect(lines.contains("SWITCHYARD_QUEUE=\(queue.name)"))
                #expect(!lines.contains { $0.hasPrefix("SWITCHYARD_TEST_SECRET") })
            }
        }
    }

    @Test func payloadIsTheStandardInput() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["cat"]) {
                    $0.request.payload = ByteBuffer(string: "{\"a\": 1}")
                }
                #expect(try await queue.ended(id).state == .completed)
                #expect(try await queue.logText(id) == "{\"a\": 1}")
            }
        }
    }

    @Test func templateIsFilledWithTheTasksValues() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            let handler = CommandHandler(template: ["printf", "[%s]", "build-{target}", "{args}", "{x}"])
            try await queue.withWorker(handler: handler) { _ in
                let id = try await queue.submit(command: []) {
                    $0.request.target = "{args}//lib"
                    $0.request.args = ["-j", "a b"]
                }
                #expect(try await queue.ended(id).state == .completed)
                #expect(try await queue.logText(id) == "[build-{args}//lib][-j][a b][{x}]")
            }
        }
    }

    @Test func taskWithoutACommandFailsAndIsNotRetried() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: [], maxRetries: 5)
                let task = try await queue.ended(id)
                #expect(task.state == .failed)
                #expect(task.failure?.code == "NoCommand")
                #expect(task.attempt == 1)
            }
        }
    }

    @Test func outputIsReadableWhileTheTaskRuns() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["sh", "-c", "echo early; exec sleep 60"])
                let first = try await queue.handle.followLog(id, after: "0", timeout: .seconds(10))
                #expect(first.map { String(buffer: $0.data) } == ["early\n"])
                #expect(try await queue.handle.getTask(id).state == .running)
                try await queue.handle.cancelTask(id)
            }
        }
    }
}
