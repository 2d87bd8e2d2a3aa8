import Foundation
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

@Suite struct StoppingTests {
    /// Prints its own process id and that of a child, both of which ignore SIGTERM.
    private static let stubborn = [
        "sh", "-c", "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $$ $!; while :; do sleep 1; done",
    ]

    /// Waits until the command has printed its process ids, and returns them.
    private func processes(_ queue: TestQueue, _ id: String) async throws -> [Int] {
        var text = ""
        #expect(
            try await eventually {
                text = try await queue.logText(id)
                return text.contains("\n")
            })
        return text.split { !$0.isNumber }.compactMap { Int($0) }
    }

    @Test func cancelEndsTheWholeProcessGroupWhateverItIgnores() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: Self.stubborn, maxRetries: 3)
                let pids = try await processes(queue, id)
                #expect(pids.count == 2 && pids.allSatisfy(isAlive))
                var task = try await queue.handle.cancelTask(id, reason: "not wanted")
                #expect(task.state == .cancelled && task.isEnding)
                #expect(try await eventually { !pids.contains(where: isAlive) })
                // The late end of the attempt changes nothing else of the task.
                task.isEnding = false
                let next = try await queue.submit(command: ["true"])
                #expect(try await queue.ended(next).state == .completed)
                #expect(try await queue.handle.getTask(id) == task)
            }
        }
    }

    @Test func timeLimitEndsTheWholeProcessGroup() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: Self.stubborn, timeout: .milliseconds(700))
                let pids = try await processes(queue, id)
                let task = try await queue.ended(id)
                #expect(task.state == .timeout)
                #expect(task.failure?.code == "Timeout")
                #expect(try await eventually { !pids.contains(where: isAlive) })
            }
        }
    }

    @Test func drainedWorkerEndsItsTaskFirstAndTakesNoOther() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            let first = try await queue.submit(command: ["sleep", "0.5"])
            try await queue.withWorker { worker in
                _ = try await queue.running(first)
                worker.drain()
                let second = try await queue.submit(command: ["true"])
                #expect(try await queue.ended(first).state == .completed)
                #expect(try await eventually { try await queue.handle.getWorkers().isEmpty })
                #expect(try await queue.handle.getTask(second).state == .pending)
                try await queue.handle.cancelTask(second)
            }
        }
    }

    private func isDraining(_ queue: TestQueue) async throws -> Bool {
        try await queue.handle.getWorkers().map(\.isDraining) == [true]
    }

    private func idles(_ queue: TestQueue) async throws -> Bool {
        try await eventually { try await queue.handle.getStats().idleWorkers == 1 }
    }

    /// Draining by itself, as on SIGTERM, and not by an order of the scheduler. With a free slot it would sleep, and be
    /// counted as idle.
    @Test(arguments: [1, 2, 5]) func aWorkerThatDrainsIsSeenToDrainAndIsNotIdle(slots: Int) async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            let task = try await queue.submit(command: ["sleep", "600"])
            try await queue.withWorker(slots: slots) { worker in
                _ = try await queue.running(task)
                if slots > 1 { #expect(try await idles(queue)) }
                worker.drain()
                #expect(try await eventually { try await isDraining(queue) })
                #expect(try await queue.handle.getStats().idleWorkers == 0)
                let demand = try await queue.handle.demand()
                #expect(demand.drainingWorkers == 1 && demand.classes.map(\.workers) == [1])
                try await queue.handle.cancelTask(task)
            }
            #expect(try await queue.handle.getWorkers().isEmpty)
            // The id drains no longer once it belongs to another process.
            try await queue.withWorker(slots: slots) { _ in
                #expect(try await idles(queue))
                let demand = try await queue.handle.demand()
                #expect(demand.drainingWorkers == 0)
            }
        }
    }

    /// Completes every attempt. A class, so that a test sees when it is released.
    private final class ShortHandler: TaskHandler {
        func run(_ attempt: Attempt) async -> AttemptOutcome { .completed() }
    }

    @Test func aDrainedWorkerReleasesItsHandler() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            var handler: ShortHandler? = ShortHandler()
            weak let left = handler
            try await queue.withWorker(handler: handler ?? ShortHandler()) { _ in
                handler = nil
                _ = try await queue.ended(try await queue.submit(command: ["true"]))
            }
            #expect(try await eventually { left == nil })
        }
    }

    @Test func aWorkerDrainsWhenTheSchedulerAsks() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                #expect(try await eventually { try await queue.handle.getStats().idleWorkers == 1 })
                try await queue.handle.drainWorker("w1")
                #expect(try await eventually { try await queue.handle.getWorkers().isEmpty })
            }
        }
    }

    @Test func slotsBoundHowManyTasksRunAtOnce() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker(slots: 3) { _ in
                var ids: [String] = []
                for _ in 0..<9 { ids.append(try await queue.submit(command: ["sleep", "0.2"])) }
                for id in ids {
                    #expect(try await queue.handle.getStats().running <= 3)
                    #expect(try await queue.ended(id).state == .completed)
                }
            }
        }
    }

    @Test func aWorkerCompletesEachOfThousandsOfTasksOnce() async throws {
        try await TestQueue.run(settings: quickSettings.merging(["max_queue_length": 10_000]) { $1 }) { queue in
            try await queue.withWorker(slots: 50, handler: NoOpHandler()) { _ in
                for _ in 0..<10 {
                    _ = try await queue.handle.addTasks((0..<300).map { _ in QueuedTask(BuildRequest()) })
                }
                #expect(
                    try await eventually(within: .seconds(30)) { try await queue.handle.getStats().completed == 3000 })
                let stats = try await queue.handle.getStats()
                #expect(stats.retries == 0 && stats.lost == 0)
            }
        }
    }
}
