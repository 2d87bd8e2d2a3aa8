import Logging
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Synchronization

/// A worker that pulls, works for a few milliseconds and reports, until it is cancelled. It follows the worker guide:
/// it repeats failed calls, registers again when it is unknown, and drops the attempts that it is told to stop.
struct SimulatedWorker: Sendable {
    let id: String
    let queue: TestQueue
    let client: RedisClient
    var slots = 3
    /// The accepted completions of each task, by attempt.
    let accepted: Shared<[String: Set<Int>]>

    init(_ id: String, _ queue: TestQueue, accepted: Shared<[String: Set<Int>]>) throws {
        self.id = id
        self.queue = queue
        self.accepted = accepted
        client = try queue.redis.makeClient()
    }

    func run() async {
        guard let worker = try? queue.stranger(id, client: client) else { return }
        var held: [String: Int] = [:]
        while !Task.isCancelled {
            do {
                for assignment in try await worker.pull(max: slots, holding: held.count) {
                    held[assignment.task.id] = assignment.attempt
                }
                if held.isEmpty { try await worker.waitForWakeUp(timeout: .milliseconds(200)) }
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...4)))
                let orders = try await worker.heartbeat(held.map { ($0.key, $0.value, nil) })
                for stop in orders.stop { held[stop.taskID] = nil }
                for (task, attempt) in held {
                    let report = WorkerClient.Report(taskID: task, attempt: attempt, outcome: .completed)
                    let answer = try await worker.finish([report], pull: 0, holding: held.count - 1)
                    held[task] = nil
                    if case .success(.completed)? = answer.states.first {
                        accepted.withLock { _ = $0[task, default: []].insert(attempt) }
                    }
                }
            } catch SchedulerError.workerNotFound {
                held = [:]
                _ = try? await worker.register(.init(slots: slots))
            } catch {
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
        await client.shutdown()
    }
}

/// A value behind a lock, shared by any number of tasks.
final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>
    init(_ value: Value) { mutex = Mutex(value) }
    func withLock<Result: Sendable>(_ body: (inout sending Value) -> sending Result) -> Result { mutex.withLock(body) }
    var value: Value { mutex.withLock { $0 } }
}
