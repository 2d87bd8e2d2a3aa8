import Foundation
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// The commands that a worker's host runs around each attempt.
@Suite struct HookTests {
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(
            "switchyard-hooks-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
        // Only the directory of this test is left if it cannot be removed.
        defer { try? FileManager.default.removeItem(at: path) }
        try await body(path.path)
    }

    private func handler(_ directory: String, before: String? = nil, after: String? = nil) -> CommandHandler {
        var handler = CommandHandler(grace: .milliseconds(300))
        handler.workspace = directory
        handler.before = before
        handler.after = after
        return handler
    }

    @Test(arguments: [("exit 0", "0"), ("exit 3", "3"), ("kill -9 $$", "137"), ("kill -TERM $$", "143")])
    func theyRunAroundTheCommand(command: String, code: String) async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                let hooks = handler(
                    directory, before: "echo \"before $SWITCHYARD_TASK_ID $MINE\"; pwd > made",
                    after: "echo \"after $SWITCHYARD_EXIT $SWITCHYARD_ATTEMPT $MINE\"; cmp made seen && cat")
                try await queue.withWorker(handler: hooks) { _ in
                    let id = try await queue.submit(command: ["bash", "-c", "pwd > seen; echo now; \(command)"]) {
                        $0.request.environment["MINE"] = "value"
                    }
                    let task = try await queue.ended(id)
                    #expect(task.state == (code == "0" ? .completed : .failed))
                    #expect(try await queue.logText(id) == "before \(id) value\nnow\nafter \(code) 1 value\n")
                    #expect(task.failure?.message.contains("--") != true)
                }
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            }
        }
    }

    @Test func aFailingBeforeHandsTheTaskBack() async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                let hooks = handler(
                    directory, before: "echo no disk >&2; exit 4", after: "echo \"after <$SWITCHYARD_EXIT>\"")
                try await queue.withWorker("broken", handler: hooks) { _ in
                    let id = try await queue.submit(command: ["echo", "ran"])
                    let back = try await queue.handle.waitForTask(id, timeout: .seconds(30)) {
                        !$0.attempts.isEmpty
                            && $0.attempts[0].outcome == "returned"
                    }
                    #expect(back.retryCount == 0)
                    #expect(back.attempts[0].failure?.code == "CannotStart")
                    #expect(
                        back.attempts[0].failure?.message.contains("--before ended with exit code 4: no disk") == true)
                    let healthy = try Worker(
                        id: "healthy", queue: queue.name, client: queue.redis.client, options: WorkerOptions(slots: 2),
                        handler: CommandHandler(), logger: TestRedis.quiet)
                    let serving = Task { try await healthy.run() }
                    #expect(try await queue.ended(id).state == .completed)
                    let log = try await queue.logText(id)
                    #expect(log.hasPrefix("no disk\nafter <>\n"))
                    #expect(log.components(separatedBy: "ran").count == 2)
                    healthy.drain()
                    try await serving.value
                }
            }
        }
    }

    @Test func aFailingAfterChangesNothing() async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                try await queue.withWorker(handler: handler(directory, after: "echo told; exit 9")) { _ in
                    let id = try await queue.submit(command: ["true"])
                    #expect(try await queue.ended(id).state == .completed)
                    #expect(try await queue.logText(id) == "told\n")
                }
            }
        }
    }

    enum Part: CaseIterable { case before, command, after }

    /// Writes its process's id, and ignores SIGTERM.
    private static func stuck(_ directory: String, _ name: String) -> String {
        "trap '' TERM; echo $$ > \(directory)/\(name); sleep 60 & wait; sleep 60"
    }

    private func processID(_ directory: String, _ name: String) async throws -> Int {
        var found: Int?
        _ = try await eventually(within: .seconds(30)) {
            let text = (try? String(contentsOfFile: "\(directory)/\(name)", encoding: .utf8)) ?? ""
            found = Int(text.trimmingCharacters(in: .whitespacesAndNewlines))
            return found != nil
        }
        return try #require(found)
    }

    @Test(arguments: Part.allCases, [true, false])
    func noneOutlivesTheAttempt(stuck: Part, isCancelled: Bool) async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                let work = directory + "/work"
                try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
                let loop = Self.stuck(directory, "pid")
                let hooks = handler(
                    work, before: stuck == .before ? loop : "true",
                    after: (stuck == .after ? loop : "true") + "; echo \"<$SWITCHYARD_EXIT>\" > \(directory)/after")
                try await queue.withWorker(handler: hooks) { _ in
                    let id = try await queue.submit(
                        command: ["bash", "-c", stuck == .command ? loop : "true"],
                        // Long enough to start three shells on a busy machine.
                        timeout: isCancelled ? .seconds(60) : .seconds(4))
                    let process = try await processID(directory, "pid")
                    if isCancelled { try await queue.handle.cancelTask(id) }
                    #expect(try await queue.ended(id).state == (isCancelled ? .cancelled : .timeout))
                    #expect(try await eventually(within: .seconds(30)) { !isAlive(process) })
                }
                // The worker has ended, so `after` has run, or was ended.
                let after = try? String(contentsOfFile: directory + "/after", encoding: .utf8)
                let expected: String? =
                    switch stuck {
                    case .before: "<>\n"
                    case .command: "<137>\n"
                    case .after: nil
                    }
                #expect(after == expected)
            }
        }
    }

    @Test func aStuckAfterOfACancelledTaskIsEnded() async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                let work = directory + "/work"
                try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
                let hooks = handler(work, after: Self.stuck(directory, "after"))
                try await queue.withWorker(handler: hooks) { _ in
                    let id = try await queue.submit(command: ["sleep", "60"])
                    _ = try await queue.running(id)
                    try await queue.handle.cancelTask(id)
                    let process = try await processID(directory, "after")
                    #expect(try await eventually(within: .seconds(30)) { !isAlive(process) })
                }
            }
        }
    }
}
