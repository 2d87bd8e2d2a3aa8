import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Synchronization
import Testing

@testable import SwitchyardWorker

/// Counts the runs of each task, and the attempts that run at once.
private final class CountingHandler: TaskHandler {
    private struct State {
        var now = 0
        var most = 0
        var runs: [String: Int] = [:]
    }
    private let state = Mutex(State())
    private let milliseconds: Int
    /// While true, attempts do not end.
    private let isBlocked: Mutex<Bool>

    init(milliseconds: Int = 0, isBlocked: Bool = false) {
        self.milliseconds = milliseconds
        self.isBlocked = Mutex(isBlocked)
    }

    func run(_ attempt: Attempt) async -> AttemptOutcome {
        state.withLock { state in
            state.now += 1
            state.most = max(state.most, state.now)
            state.runs[attempt.id, default: 0] += 1
        }
        if milliseconds > 0 { try? await Task.sleep(for: .milliseconds(milliseconds)) }
        while isBlocked.withLock({ $0 }), !Task.isCancelled { try? await Task.sleep(for: .milliseconds(5)) }
        state.withLock { $0.now -= 1 }
        return .completed()
    }

    func release() { isBlocked.withLock { $0 = false } }
    var most: Int { state.withLock { $0.most } }
    var now: Int { state.withLock { $0.now } }
    var runs: [String: Int] { state.withLock { $0.runs } }
}

/// The ids of the tasks whose submission was acknowledged.
private final class Acknowledged: Sendable {
    private let all = Mutex<Set<String>>([])
    func add(_ id: String) { all.withLock { _ = $0.insert(id) } }
    var ids: Set<String> { all.withLock { $0 } }
}

extension PartitionedQueue {
    fileprivate func worker(_ id: String, slots: Int, _ handler: any TaskHandler) throws -> Worker {
        try Worker(
            id: id, queue: name, partitions: partitions, options: WorkerOptions(slots: slots), handler: handler,
            logger: TestRedis.quiet)
    }

    fileprivate func isIdle(_ worker: String, in index: Int) async throws -> Bool {
        try await !parts[index].raw("ZSCORE", "{}idle", worker).isNull
    }

    fileprivate func submit(_ count: Int, in index: Int? = nil) async throws -> [String] {
        var ids: [String] = []
        for _ in 0..<count { ids.append(index.map(id(in:)) ?? QueuedTask.randomID()) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for id in ids {
                group.addTask { _ = try await handle.addTask(QueuedTask(BuildRequest(), id: id)) }
            }
            try await group.waitForAll()
        }
        return ids
    }

    /// Submits tasks until the Swift task is cancelled. A submission that is cancelled midway counts as not
    /// acknowledged.
    fileprivate func submitUntilCancelled(_ acknowledged: Acknowledged) async {
        while !Task.isCancelled {
            var task = QueuedTask(BuildRequest())
            task.maxRetries = 100
            if (try? await handle.addTask(task)) != nil { acknowledged.add(task.id) }
            try? await Task.sleep(for: .milliseconds(2))
        }
    }

    fileprivate func completed() async throws -> Int { try await handle.getStats().completed }
}

@Suite("Workers of several partitions")
struct PartitionTests {
    /// Runs `body` while these workers run; then drains them.
    private func serving(_ workers: [Worker], _ body: () async throws -> Void) async throws {
        let running = workers.map { worker in Task { try await worker.run() } }
        do {
            try await body()
        } catch {
            for task in running { task.cancel() }
            for task in running { _ = await task.result }
            throw error
        }
        for worker in workers { worker.drain() }
        for task in running { try await task.value }
    }

    @Test func twoWorkersCompleteEveryTaskOnceWithinTheirSlots() async throws {
        try await PartitionedQueue.run { queue in
            let ids = try await queue.submit(2000)
            let handlers = [CountingHandler(milliseconds: 1), CountingHandler(milliseconds: 1)]
            let workers = try [queue.worker("a", slots: 3, handlers[0]), queue.worker("b", slots: 8, handlers[1])]
            try await serving(workers) {
                let all = try await eventually(within: .seconds(60)) { try await queue.completed() == 2000 }
                #expect(all)
            }
            #expect(handlers.map(\.most) == [3, 8])
            let runs = handlers[0].runs.merging(handlers[1].runs) { $0 + $1 }
            #expect(Set(runs.keys) == Set(ids) && runs.values.allSatisfy { $0 == 1 })
            #expect(try await queue.handle.getWorkers().isEmpty)
        }
    }

    @Test(arguments: [1, 4])
    func noWorkerIsIdleWhileAnyPartitionHasWork(_ slots: Int) async throws {
        try await PartitionedQueue.run(partitions: 3) { queue in
            let handler = CountingHandler(isBlocked: true)
            try await serving([queue.worker("a", slots: slots, handler)]) {
                for index in 0..<3 {
                    let idle = try await eventually { try await queue.isIdle("a", in: index) }
                    #expect(idle)
                }
                // First all tasks are in one partition, then in another.
                for index in [2, 0] {
                    _ = try await queue.submit(slots + 2, in: index)
                    let full = try await eventually { handler.now == slots }
                    #expect(full)
                    if index == 0 { break }
                }
                handler.release()
                let all = try await eventually { try await queue.completed() == 2 * (slots + 2) || slots == 0 }
                #expect(all)
            }
            #expect(handler.most == slots)
        }
    }

    @Test func aWorkerWithOneSlotDoesNotForgetAPartition() async throws {
        try await PartitionedQueue.run { queue in
            _ = try await queue.submit(3000, in: 0)
            _ = try await queue.submit(300, in: 1)
            let handler = CountingHandler()
            try await serving([queue.worker("a", slots: 1, handler)]) {
                let later = try await eventually(within: .seconds(60)) {
                    try await queue.parts[1].raw("ZCARD", "{}pending").int == 0
                }
                #expect(later)
                // The other partition has ten times as many tasks, and is not done by then.
                #expect(try await queue.parts[0].raw("ZCARD", "{}pending").int ?? 0 > 500)
                let all = try await eventually(within: .seconds(60)) { try await queue.completed() == 3300 }
                #expect(all)
            }
            #expect(handler.most == 1)
        }
    }

    @Test func theWakeUpOfAWorkerThatIsFullIsPassedOn() async throws {
        // There is no replica, so no tick corrects a mistake.
        try await PartitionedQueue.run { queue in
            let handlers = [CountingHandler(isBlocked: true), CountingHandler(isBlocked: true)]
            let workers = try [queue.worker("a", slots: 1, handlers[0]), queue.worker("b", slots: 1, handlers[1])]
            try await serving(workers) {
                for worker in ["a", "b"] {
                    for index in 0..<2 {
                        let idle = try await eventually { try await queue.isIdle(worker, in: index) }
                        #expect(idle)
                    }
                }
                _ = try await queue.submit(1, in: 0)
                let one = try await eventually { handlers[0].now + handlers[1].now == 1 }
                #expect(one)
                // The busy worker is still listed as idle in the other partition. Make it the first to be woken there.
                let busy = handlers[0].now == 1 ? "a" : "b"
                #expect(try await queue.isIdle(busy, in: 1))
                try await queue.parts[1].raw("ZADD", "{}idle", "-1", busy)
                _ = try await queue.submit(1, in: 1)
                let both = try await eventually(within: .seconds(2)) { handlers.allSatisfy { $0.now == 1 } }
                #expect(both)
                #expect(try await !queue.isIdle(busy, in: 1))
                for handler in handlers { handler.release() }
                let all = try await eventually { try await queue.completed() == 2 }
                #expect(all)
            }
        }
    }

    @Test func aPullOfZeroTasksWakesAnotherWorker() async throws {
        try await PartitionedQueue.run { queue in
            let part = queue.parts[1]
            for id in ["full", "other"] {
                _ = try await part.worker(id)
                try await part.pull(id)
            }
            try await part.raw("ZADD", "{}idle", "1", "full", "2", "other")
            _ = try await queue.submit(1, in: 1)
            #expect(try await part.raw("LLEN", "{}wake:full").int == 1)
            #expect(try await part.raw("LLEN", "{}wake:other").int == 0)
            #expect(try await part.pull("full", max: 0).isEmpty)
            #expect(try await part.raw("LLEN", "{}wake:other").int == 1)
            #expect(try await part.pull("other").count == 1)
            // If no task is pending, no worker is woken.
            _ = try await part.worker("third")
            try await part.pull("third")
            #expect(try await part.pull("full", max: 0).isEmpty)
            #expect(try await part.raw("LLEN", "{}wake:third").int == 0)
            for id in ["full", "other"] { try await part.raw("LTRIM", "{}wake:\(id)", "1", "0") }
        }
    }

    @Test func aWorkerThatIsGivenOtherPartitionsRefuses() async throws {
        try await PartitionedQueue.run { queue in
            _ = try await queue.submit(10)
            let clients = queue.servers.map(\.client)
            for (instances, count) in [([clients[0]], 1), (clients, 4), (clients.reversed(), 2)] {
                let worker = try Worker(
                    id: "w", queue: queue.name, partitions: try Partitions(on: instances, count: count),
                    options: WorkerOptions(), handler: NoOpHandler(), logger: TestRedis.quiet)
                await #expect(throws: SchedulerError.self) { try await worker.run() }
            }
            #expect(try await queue.handle.getStats().pending == 10)
        }
    }

    @Test func aWorkerDrainsWhenTheNumberOfPartitionsChanges() async throws {
        try await PartitionedQueue.run(settings: ["heartbeat_ms": 50, "lease_ms": 1000]) { queue in
            let worker = try queue.worker("w", slots: 1, NoOpHandler())
            let running = Task { try await worker.run() }
            let serves = try await eventually { try await queue.isIdle("w", in: 0) }
            #expect(serves)
            try await queue.parts[0].call("configure", "partitions", "3")
            await #expect(throws: SchedulerError.self) { try await running.value }
        }
    }

    @Test func theOtherInstanceGoesOnAndNothingIsLostWhenOneIsKilled() async throws {
        let settings = [
            "lease_ms": 1000, "heartbeat_ms": 200, "retry_delay_ms": 0, "max_deliveries": 1000,
            "max_queue_length": 1_000_000,
        ]
        try await PartitionedQueue.run(.always, settings: settings) { queue in
            let scheduler = try TaskScheduler(
                partitions: queue.partitions, queues: [queue.name], logger: TestRedis.quiet)
            let replica = Task { try await scheduler.run() }
            let handlers = [CountingHandler(milliseconds: 1), CountingHandler(milliseconds: 1)]
            let workers = try [queue.worker("a", slots: 4, handlers[0]), queue.worker("b", slots: 1, handlers[1])]
            let acknowledged = Acknowledged()
            try await serving(workers) {
                let submitters = (0..<4).map { _ in Task { await queue.submitUntilCancelled(acknowledged) } }
                let works = try await eventually { acknowledged.ids.count > 200 }
                #expect(works)
                await queue.servers[1].kill()
                // While it is down, tasks in the other partition are run.
                for _ in 0..<3 {
                    let id = queue.id(in: 0)
                    _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: id))
                    let task = try await queue.handle.waitForTask(id, timeout: .seconds(10)) { $0.state.isTerminal }
                    #expect(task.state == .completed)
                }
                try await queue.servers[1].restart()
                let goesOn = try await eventually {
                    let id = queue.id(in: 1)
                    guard (try? await queue.handle.addTask(QueuedTask(BuildRequest(), id: id))) != nil else {
                        return false
                    }
                    acknowledged.add(id)
                    return true
                }
                #expect(goesOn)
                for submitter in submitters { submitter.cancel() }
                for submitter in submitters { await submitter.value }
                let ids = Array(acknowledged.ids)
                let all = try await eventually(within: .seconds(30), every: .milliseconds(100)) {
                    try await queue.handle.getTasks(ids).allSatisfy { $0?.state == .completed }
                }
                #expect(all)
            }
            #expect(handlers[0].most <= 4 && handlers[1].most == 1)
            replica.cancel()
            _ = await replica.result
        }
    }
}
