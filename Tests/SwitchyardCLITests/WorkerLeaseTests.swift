import ChildProcess
import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// Real workers that are cut off from Redis, or have the id of another one.
@Suite(.serialized) struct WorkerLeaseTests {
    /// A queue with a replica, a directory for what tasks write, and the workers of a test.
    private struct Scene {
        let queue: TestQueue
        let directory: URL

        func worker(_ id: String, redis url: String? = nil, slots: Int = 1) async throws -> Running {
            try await Tool.start([
                "worker", "--redis", url ?? queue.redis.url, "--queue", queue.name, "--id", id, "--slots", "\(slots)",
            ])
        }

        /// Submits a task that appends its attempt to a file every 20 ms until it is killed.
        func submit(_ id: String, isStubborn: Bool = false) async throws {
            let trap = isStubborn ? "trap '' TERM; " : ""
            try await submit(
                id, "\(trap)while :; do echo $SWITCHYARD_ATTEMPT >> \(directory.path)/\(id); sleep 0.02; done",
                maxRetries: 5)
        }

        func submit(_ id: String, _ script: String, maxRetries: Int) async throws {
            var request = BuildRequest()
            request.command = ["sh", "-c", script]
            var task = QueuedTask(request, id: id)
            task.maxRetries = maxRetries
            _ = try await queue.handle.addTask(task)
        }

        /// The attempts that a task has written, in order.
        func written(_ id: String) -> [Int] {
            let text = try? String(contentsOf: directory.appending(path: id), encoding: .utf8)
            return (text ?? "").split(separator: "\n").compactMap { Int($0) }
        }

        func waitForAttempt(_ attempt: Int, of id: String) async throws {
            _ = try await Tool.eventually("attempt \(attempt) of \(id): \(Set(written(id)))", within: .seconds(40)) {
                written(id).contains(attempt) ? true : nil
            }
        }

        /// Waits until the last attempt of each task has been alone for a second, and checks that no two ran at once.
        func expectNoOverlap(_ ids: [String]) async throws {
            try await Task.sleep(for: .seconds(1))
            for id in ids { #expect(written(id) == written(id).sorted(), "two attempts of \(id) ran at once") }
        }
    }

    private func withScene(_ settings: [String: Int], _ body: (Scene) async throws -> Void) async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis, settings: settings.merging(["retry_delay_ms": 0]) { $1 })
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

    private func end(_ workers: Running...) async throws {
        for worker in workers { worker.process.signalGroup(SIGKILL) }
        for worker in workers { _ = try await worker.end() }
    }

    // MARK: Cut off

    @Test(arguments: [(lease: 4, isStubborn: false, slots: 1), (lease: 12, isStubborn: true, slots: 3)])
    func aWorkerThatIsCutOffEndsItsProcessesBeforeOthersRunTheTasks(
        scene: (lease: Int, isStubborn: Bool, slots: Int)
    ) async throws {
        try await withScene(["lease_ms": scene.lease * 1000, "heartbeat_ms": 500]) { world in
            let proxy = try await RedisProxy.start(to: world.queue.redis)
            let first = try await world.worker("first", redis: proxy.url, slots: scene.slots)
            let ids = (0..<scene.slots).map { "t\($0)" }
            for id in ids { try await world.submit(id, isStubborn: scene.isStubborn) }
            for id in ids { try await world.waitForAttempt(1, of: id) }
            let second = try await world.worker("second", slots: scene.slots)
            proxy.stall()
            let cut = ContinuousClock.now
            for id in ids { try await world.waitForAttempt(2, of: id) }
            #expect(ContinuousClock.now - cut < .seconds(scene.lease + 5))
            try await world.expectNoOverlap(ids)
            #expect(first.stderr.contains("stopping all attempts, because their leases end"), "\(first.stderr)")
            #expect(try await world.queue.handle.getStats().lost == scene.slots)
            // Back, it runs tasks again, and has not reported what it stopped.
            proxy.resume()
            try await world.submit("next", "true", maxRetries: 0)
            _ = try await world.queue.handle.waitForTask("next", timeout: .seconds(20)) { $0.state == .completed }
            for id in ids { #expect(try await world.queue.handle.getTask(id).state == .running) }
            #expect(first.process.exitStatus == nil)
            try await end(first, second)
            await proxy.stop()
        }
    }

    /// Redis itself stands still, so that nobody can give the tasks to another worker.
    @Test(arguments: [(slots: 1, isStubborn: true), (slots: 3, isStubborn: false)])
    func aWorkerEndsItsProcessesWhileRedisIsStopped(scene: (slots: Int, isStubborn: Bool)) async throws {
        try await withScene(["lease_ms": 4000, "heartbeat_ms": 500]) { world in
            let info = try await world.queue.raw("INFO", "server").string ?? ""
            let redis = try #require(info.firstMatch(of: #/process_id:(\d+)/#).flatMap { pid_t($0.1) })
            let first = try await world.worker("first", slots: scene.slots)
            let ids = (0..<scene.slots).map { "t\($0)" }
            for id in ids { try await world.submit(id, isStubborn: scene.isStubborn) }
            for id in ids { try await world.waitForAttempt(1, of: id) }
            let second = try await world.worker("second", slots: scene.slots)
            kill(redis, SIGSTOP)
            defer { kill(redis, SIGCONT) }
            _ = try await Tool.eventually("the processes have ended", within: .seconds(40)) {
                let before = ids.map { world.written($0).count }
                try await Task.sleep(for: .seconds(1))
                return ids.map { world.written($0).count } == before ? true : nil
            }
            #expect(first.stderr.contains("stopping all attempts, because their leases end"), "\(first.stderr)")
            kill(redis, SIGCONT)
            for id in ids { try await world.waitForAttempt(2, of: id) }
            try await world.expectNoOverlap(ids)
            try await end(first, second)
        }
    }

    /// A worker that is stopped by a signal cannot end its processes, which go on. It does so as soon as it goes on
    /// itself, and reports nothing of them.
    @Test(arguments: [1, 3]) func aWorkerThatWasStoppedEndsItsProcessesAtOnce(slots: Int) async throws {
        try await withScene(["lease_ms": 3000, "heartbeat_ms": 300]) { world in
            let first = try await world.worker("first", slots: slots)
            let ids = (0..<slots).map { "t\($0)" }
            for id in ids { try await world.submit(id) }
            for id in ids { try await world.waitForAttempt(1, of: id) }
            let second = try await world.worker("second", slots: slots)
            kill(first.process.processID, SIGSTOP)
            for id in ids { try await world.waitForAttempt(2, of: id) }
            kill(first.process.processID, SIGCONT)
            _ = try await Tool.eventually("only the second attempts run", within: .seconds(40)) {
                try await Task.sleep(for: .seconds(1))
                return ids.allSatisfy { !world.written($0).suffix(20).contains(1) } ? true : nil
            }
            for id in ids {
                let task = try await world.queue.handle.getTask(id)
                #expect(task.state == .running && task.attempts.map(\.outcome) == ["lost", nil], "\(task.attempts)")
            }
            #expect(first.process.exitStatus == nil)
            try await end(first, second)
        }
    }

    // MARK: One id

    @Test(arguments: [(slots: 1, isStubborn: false), (slots: 4, isStubborn: true)])
    func theSecondProcessWithAnIDTakesOverAndNoTaskRunsInBoth(
        scene: (slots: Int, isStubborn: Bool)
    ) async throws {
        try await withScene([:]) { world in
            let ids = (0..<scene.slots).map { "t\($0)" }
            let first = try await world.worker("same", slots: scene.slots)
            for id in ids { try await world.submit(id, isStubborn: scene.isStubborn) }
            for id in ids { try await world.waitForAttempt(1, of: id) }
            let second = try await world.worker("same", slots: scene.slots)
            let output = try await first.end(within: .seconds(20))
            #expect(output.exitCode == 5)
            #expect(output.stderr.contains("another process has this worker's id"), "\(output.stderr)")
            for id in ids { try await world.waitForAttempt(2, of: id) }
            #expect(second.stderr.contains("another process is running with this worker's id"), "\(second.stderr)")
            try await world.expectNoOverlap(ids)
            let stats = try await world.queue.handle.getStats()
            #expect(stats.lost == scene.slots && stats.running == scene.slots)
            for id in ids { #expect(try await world.queue.handle.getTask(id).attempts.map(\.attempt) == [1, 2]) }
            try await end(second)
        }
    }

    /// The fence that remains if the former process does not hear that it is replaced: its calls are refused.
    @Test func theQueueRefusesTheCallsOfAFormerProcess() async throws {
        try await withScene(["lease_ms": 20_000, "heartbeat_ms": 500]) { world in
            let first = try await world.worker("same")
            try await world.submit("t")
            try await world.waitForAttempt(1, of: "t")
            let nonce = try await world.queue.raw("HGET", "{}attempts:same", "@state").string ?? ""
            #expect(nonce.contains(" nonce="))
            try await world.queue.call("register", "worker", "same", "nonce", "another")
            let output = try await first.end(within: .seconds(20))
            #expect(output.exitCode == 5)
            #expect(output.stderr.contains("another process has this worker's id"), "\(output.stderr)")
            let task = try await world.queue.handle.getTask("t")
            #expect(task.attempts.first?.outcome == "lost")
        }
    }

    /// The worker is always started again with its id, before its lease ends.
    @Test(arguments: [(0, 0.3), (0, 6), (2, 0.3)])
    func aTaskThatKillsItsWorkerFails(maxRetries: Int, delay: Double) async throws {
        try await withScene(["lease_ms": 15_000, "heartbeat_ms": 5000]) { world in
            let file = world.directory.appending(path: "killer").path
            try await world.submit(
                "killer", "echo $SWITCHYARD_ATTEMPT >> \(file); sleep \(delay); kill -9 $PPID", maxRetries: maxRetries)
            let restarting = Task {
                while !Task.isCancelled {
                    let worker = try await world.worker("same")
                    while worker.process.exitStatus == nil, !Task.isCancelled {
                        // The sleep fails only when the task is cancelled, which ends the loop.
                        try? await Task.sleep(for: .milliseconds(20))
                    }
                    try await end(worker)
                }
            }
            let task = try await world.queue.handle.waitForTask("killer", timeout: .seconds(40)) { $0.state.isTerminal }
            restarting.cancel()
            _ = await restarting.result
            #expect(task.state == .failed)
            #expect(task.failure?.code == "WorkerNotFound")
            #expect(world.written("killer") == Array(1...maxRetries + 1))
        }
    }
}
