import Foundation
import Logging
import NIOCore
import RedisClient
import ServiceLifecycle
import Switchyard
import SwitchyardTesting
import SwitchyardWorker

/// Leases that are short enough to wait for, and no backoff.
let quickSettings = ["lease_ms": 2000, "heartbeat_ms": 100, "retry_delay_ms": 0]

extension TestQueue {
    /// Runs `body` while a worker serves the queue and a replica ticks it. Both have stopped when this returns.
    func withWorker(
        _ id: String = "w1", slots: Int = 1, client: RedisClient? = nil,
        handler: any TaskHandler = CommandHandler(grace: .milliseconds(300)),
        _ body: (Worker) async throws -> Void
    ) async throws {
        let worker = try Worker(
            id: id, queue: name, client: client ?? redis.client, options: WorkerOptions(slots: slots),
            handler: handler, logger: TestRedis.quiet)
        let scheduler = try TaskScheduler(client: redis.client, queues: [name], logger: TestRedis.quiet)
        let replica = Task { try await scheduler.run() }
        let serving = Task { try await worker.run() }
        defer { replica.cancel() }
        do {
            try await body(worker)
        } catch {
            serving.cancel()
            _ = await serving.result
            throw error
        }
        worker.drain()
        try await serving.value
        replica.cancel()
        _ = await replica.result
    }

    /// Submits a command and returns its task's id.
    @discardableResult
    func submit(
        command: [String], id: String = QueuedTask.randomID(), maxRetries: Int = 0, timeout: Duration = .seconds(60),
        _ adjust: (inout QueuedTask) -> Void = { _ in }
    ) async throws -> String {
        var request = BuildRequest()
        request.command = command
        var task = QueuedTask(request, id: id)
        task.maxRetries = maxRetries
        task.timeout = timeout
        adjust(&task)
        _ = try await handle.addTask(task)
        return id
    }

    /// Waits until the task has ended, and returns it.
    func ended(_ id: String) async throws -> QueuedTask {
        try await handle.waitForTask(id, timeout: .seconds(20)) { $0.state.isTerminal }
    }

    /// Waits until the task runs, and returns it.
    func running(_ id: String) async throws -> QueuedTask {
        try await handle.waitForTask(id, timeout: .seconds(20)) { $0.state == .running }
    }

    /// The task's log, as one text.
    func logText(_ id: String) async throws -> String {
        try await handle.readLog(id).map { String(buffer: $0.data) }.joined()
    }
}

extension QueuedTask {
    /// A field of the result, which is JSON.
    func resultField(_ name: String) -> Any? {
        guard let result, let object = try? JSONSerialization.jsonObject(with: Data(Array(buffer: result))) else {
            return nil
        }
        return (object as? [String: Any])?[name]
    }
}

/// Whether a process with this id exists and is not a zombie.
func isAlive(_ pid: Int) -> Bool {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return false }
    return stat.split(separator: ")").last?.split(separator: " ").first != "Z"
}
