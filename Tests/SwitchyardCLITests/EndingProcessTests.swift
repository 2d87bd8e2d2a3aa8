import ChildProcess
import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// Real workers and processes that take their time to end: who may run beside them, and what becomes of their tasks
/// when the worker drains.
@Suite(.serialized) struct EndingProcessTests {
    /// A queue with a replica, and a directory for what the tasks write.
    private struct Scene {
        let queue: TestQueue
        let directory: URL

        func worker(_ id: String, _ flags: [String] = []) async throws -> Running {
            try await Tool.start(
                ["worker", "--redis", queue.redis.url, "--queue", queue.name, "--id", id, "--no-detect"] + flags)
        }

        /// Submits a task that holds `lock` while its process lives, and notes if another process has it.
        /// - Parameters:
        ///   - body: what it does while it holds the lock.
        ///   - cleanUp: how many seconds it takes to end after SIGTERM; nil: it ignores SIGTERM.
        func submit(
            _ id: String, lock: String, body: String, cleanUp: Double? = 0,
            _ adjust: (inout QueuedTask) -> Void = { _ in }
        ) async throws {
            let trap = cleanUp.map { "sleep \($0) & wait $!; rmdir \(lock); echo $me end >> log; exit 1" } ?? ""
            var request = BuildRequest()
            request.command = [
                "bash", "-c",
                """
                cd \(directory.path); me=$SWITCHYARD_TASK_ID.$SWITCHYARD_ATTEMPT
                trap '\(trap)' TERM
                mkdir \(lock) || echo $me overlaps >> log
                echo $me start >> log
                \(body)
                rmdir \(lock)
                """,
            ]
            var task = QueuedTask(request, id: id)
            task.maxRetries = 0
            adjust(&task)
            _ = try await queue.handle.addTask(task)
        }

        var log: [String] {
            let text = try? String(contentsOf: directory.appending(path: "log"), encoding: .utf8)
            return (text ?? "").split(separator: "\n").map(String.init)
        }

        func wait(for line: String) async throws {
            _ = try await Tool.eventually("\(line) in \(log)") { log.contains(line) ? true : nil }
        }

        func ended(_ id: String) async throws -> QueuedTask {
            try await queue.handle.waitForTask(id, timeout: .seconds(40)) { $0.state.isTerminal }
        }

        /// Stops the workers, whose tasks have ended.
        func stop(_ workers: [Running]) async throws {
            for worker in workers { worker.process.signalGroup(SIGTERM) }
            for worker in workers { #expect(try await worker.end().exitCode == 0) }
        }
    }

    private static let forever = "while :; do sleep 0.02; done"

    private func withScene(_ settings: [String: Int] = [:], _ body: (Scene) async throws -> Void) async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(
                on: redis, settings: ["retry_delay_ms": 0, "heartbeat_ms": 500].merging(settings) { $1 })
            let directory = FileManager.default.temporaryDirectory.appending(path: "switchyard-\(queue.name)")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            let scheduler = try TaskScheduler(client: redis.makeClient(), queues: [queue.name], logger: TestRedis.quiet)
            let replica = Task { try await scheduler.run() }
            defer {
                replica.cancel()
                // In the directory of temporary files nothing depends on it.
                try? FileManager.default.removeItem(at: directory)
            }
            try await body(Scene(queue: queue, directory: directory))
        }
    }

    // MARK: Endings

    /// How the first task is told to end, and what runs after it.
    enum Cause: CaseIterable { case cancel, timeLimit, retryOfItself, timeLimitWithRetry }

    @Test(arguments: Cause.allCases, [1, 2])
    func nothingStartsBesideAProcessThatIsStillEnding(cause: Cause, workers count: Int) async throws {
        try await withScene { scene in
            var workers: [Running] = []
            for number in 1...count { workers.append(try await scene.worker("w\(number)", ["--slots", "3"])) }
            let isOwn = cause == .retryOfItself || cause == .timeLimitWithRetry
            func limit(_ task: inout QueuedTask) {
                // A task does not run beside itself, also without a limit.
                if isOwn { return }
                task.scheduling.concurrencyKey = "key"
            }
            let body = "[ -e again ] || \(Self.forever)"
            try await scene.submit("first", lock: "lock", body: body, cleanUp: 1.2) { task in
                limit(&task)
                if cause == .timeLimit || cause == .timeLimitWithRetry { task.timeout = .seconds(1) }
                if cause == .timeLimitWithRetry { task.maxRetries = 1 }
            }
            try await scene.wait(for: "first.1 start")
            FileManager.default.createFile(atPath: scene.directory.appending(path: "again").path, contents: nil)
            if !isOwn { try await scene.submit("next", lock: "lock", body: "true", limit) }
            if cause == .cancel || cause == .retryOfItself {
                let cancelled = try await scene.queue.handle.cancelTask("first")
                #expect(cancelled.state == .cancelled && cancelled.isEnding)
            }
            if cause == .retryOfItself { _ = try await scene.queue.handle.retryTask("first") }
            let last = isOwn ? "first" : "next"
            _ = try await scene.queue.handle.waitForTask(last, timeout: .seconds(40)) { $0.state == .completed }
            #expect(scene.log == ["first.1 start", "first.1 end", isOwn ? "first.2 start" : "next.1 start"])
            #expect(try await scene.queue.handle.getTask("first").isEnding == false)
            try await scene.queue.snapshot()
            try await scene.stop(workers)
        }
    }

    @Test func theGraceOfATaskBoundsAProcessThatIgnoresSIGTERM() async throws {
        try await withScene { scene in
            let worker = try await scene.worker("w", ["--slots", "3", "--grace", "600"])
            for id in ["a", "b", "c"] {
                try await scene.submit(id, lock: "lock-\(id)", body: Self.forever, cleanUp: nil) {
                    $0.scheduling.grace = .milliseconds(300)
                    $0.scheduling.concurrencyKey = id
                }
            }
            for id in ["a", "b", "c"] { try await scene.wait(for: "\(id).1 start") }
            for id in ["a", "b", "c"] { try await scene.queue.handle.cancelTask(id) }
            for id in ["a", "b", "c"] {
                try await scene.submit("next-\(id)", lock: "next-\(id)", body: "true") {
                    $0.scheduling.concurrencyKey = id
                }
            }
            for id in ["a", "b", "c"] { #expect(try await scene.ended("next-\(id)").state == .completed) }
            try await scene.stop([worker])
        }
    }

    @Test func theEndOfTheWorkersLeaseFreesWhatItsProcessesHeld() async throws {
        try await withScene(["lease_ms": 2000]) { scene in
            let first = try await scene.worker("first", ["--grace", "600"])
            try await scene.submit("t", lock: "lock", body: Self.forever, cleanUp: nil) {
                $0.scheduling.concurrencyKey = "key"
            }
            try await scene.wait(for: "t.1 start")
            try await scene.queue.handle.cancelTask("t")
            try await scene.submit("next", lock: "other", body: "true") { $0.scheduling.concurrencyKey = "key" }
            let second = try await scene.worker("second")
            first.process.signalGroup(SIGKILL)
            #expect(try await scene.ended("next").state == .completed)
            #expect(try await scene.queue.handle.getTask("t").isEnding == false)
            try await scene.stop([second])
        }
    }

    // MARK: Draining

    /// Why a draining worker does not wait any longer.
    enum Impatience: CaseIterable { case secondSignal, interruptAfterTerm, timeout }

    @Test(arguments: Impatience.allCases, [0.0, nil])
    func aDrainingWorkerHandsBackWhatItRunsAndNothingIsCounted(why: Impatience, cleanUp: Double?) async throws {
        try await withScene { scene in
            let flags = ["--slots", "2", "--grace", "1"] + (why == .timeout ? ["--drain-timeout", "300ms"] : [])
            let worker = try await scene.worker("w", flags)
            let ids = ["a", "b"]
            for id in ids {
                try await scene.submit(
                    id, lock: "lock-\(id)", body: "[ -e again ] || \(Self.forever)", cleanUp: cleanUp)
            }
            for id in ids { try await scene.wait(for: "\(id).1 start") }
            worker.process.signalGroup(SIGTERM)
            _ = try await Tool.eventually("the worker drains") {
                try await scene.queue.handle.getWorkers().allSatisfy(\.isDraining) ? true : nil
            }
            if why == .secondSignal { worker.process.signalGroup(SIGTERM) }
            if why == .interruptAfterTerm { worker.process.signalGroup(SIGINT) }
            let output = try await worker.end()
            #expect(output.exitCode == 0, "\(output.stderr)")
            for id in ids {
                let task = try await scene.queue.handle.getTask(id)
                #expect(task.state == .pending && task.retryCount == 0)
                #expect(task.attempts.map(\.outcome) == ["returned"])
            }
            #expect(try await scene.queue.handle.getStats().lost == 0)
            try await scene.queue.snapshot()
            FileManager.default.createFile(atPath: scene.directory.appending(path: "again").path, contents: nil)
            for id in ids { _ = try? FileManager.default.removeItem(at: scene.directory.appending(path: "lock-\(id)")) }
            let next = try await scene.worker("w")
            for id in ids { #expect(try await scene.ended(id).state == .completed) }
            #expect(!scene.log.contains { $0.hasSuffix("overlaps") })
            try await scene.stop([next])
        }
    }

    @Test(arguments: [true, false])
    func killingADrainingWorkerIsNotTheTasksFault(drains: Bool) async throws {
        try await withScene(["lease_ms": 2000]) { scene in
            let worker = try await scene.worker("w")
            try await scene.submit("t", lock: "lock", body: Self.forever)
            try await scene.wait(for: "t.1 start")
            if drains {
                worker.process.signalGroup(SIGTERM)
                _ = try await Tool.eventually("the worker drains") {
                    try await scene.queue.handle.getWorkers().allSatisfy(\.isDraining) ? true : nil
                }
            }
            worker.process.signalGroup(SIGKILL)
            let task = try await scene.queue.handle.waitForTask("t", timeout: .seconds(40)) { $0.state != .running }
            #expect(task.state == (drains ? .pending : .failed) && task.retryCount == 0)
            #expect(task.attempts.map(\.outcome) == ["lost"])
        }
    }

    @Test func devHandsBackWhatItsWorkersRun() async throws {
        let data = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString)").path
        let dev = try await DevServer.start(["--data", data, "--workers", "1"])
        let id = try await dev.run(["submit", "--max-retries", "0", "--", "sleep", "1000"]).line
        _ = try await Tool.eventually("the task runs") {
            try await dev.run(["get", id, "-o", "json"]).json()["state"]?.plainText == "running" ? true : nil
        }
        #expect(try await dev.stop().exitCode == 0)
        let again = try await DevServer.start(["--data", data, "--workers", "0"])
        let task = try await again.run(["get", id, "-o", "json"]).json()
        #expect(task["state"]?.plainText == "pending" && task["retry_count"]?.int == 0)
        #expect(task["attempts"]?.array?.first?["outcome"]?.plainText == "returned")
        #expect(try await again.stop().exitCode == 0)
        try FileManager.default.removeItem(atPath: data)
    }

    @Test func aSecondSignalReachesTheWorkersOfAutoscale() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
        let pool = try await Tool.start(
            [
                "autoscale", "--interval", "0.2", "--min", "2", "--max", "2", "--", Tool.path, "worker", "--redis",
                "unix://\(socket)", "--id", "auto-{n}",
            ], server: dev.url)
        var ids: [String] = []
        for _ in 0..<2 { ids.append(try await dev.run(["submit", "--max-retries", "0", "--", "sleep", "1000"]).line) }
        func states() async throws -> [String?] {
            var states: [String?] = []
            for id in ids { states.append(try await dev.run(["get", id, "-o", "json"]).json()["state"]?.plainText) }
            return states
        }
        _ = try await Tool.eventually("the tasks run") { try await states() == ["running", "running"] ? true : nil }
        pool.process.signalGroup(SIGTERM)
        _ = try await Tool.eventually("the workers drain") {
            let workers = try await dev.run(["workers", "-o", "json"]).json()["workers"]?.array ?? []
            return workers.allSatisfy { $0["draining"]?.plainText == "true" } ? true : nil
        }
        pool.process.signalGroup(SIGTERM)
        #expect(try await pool.end().exitCode == 0)
        #expect(try await states() == ["pending", "pending"])
        #expect(try await dev.stop().exitCode == 0)
    }
}
