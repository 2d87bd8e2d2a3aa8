import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Priority and order in line")
struct OrderTests {
    /// The expected order: the submitted tasks, sorted by priority.
    private func expected(_ submitted: [(id: String, priority: TaskPriority)]) -> [String] {
        TaskPriority.allCases.flatMap { level in submitted.filter { $0.priority == level }.map(\.id) }
    }

    @Test func oneWorkerGetsTheMostUrgentFirstAndWithinALevelTheOldest() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1000]) { queue in
            var generator = SeededGenerator(seed: 7)
            var submitted: [(id: String, priority: TaskPriority)] = []
            // Single submissions and batches, mixed.
            while submitted.count < 300 {
                let count = Bool.random(using: &generator) ? 1 : Int.random(in: 2...20, using: &generator)
                var arguments: [RedisArgument] = []
                for _ in 0..<count {
                    let id = "t\(submitted.count)"
                    let priority = TaskPriority.allCases.randomElement(using: &generator) ?? .normal
                    submitted.append((id, priority))
                    arguments += ["task", .string(id), "priority", .string(priority.rawValue)]
                }
                try await queue.call("submit", arguments)
            }
            _ = try await queue.worker("w", slots: 7)
            #expect(try await queue.runAll("w", holding: 7) == expected(submitted))
        }
    }

    @Test func aTaskGivenBackReturnsToItsPlaceBeforeLaterOnes() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w", slots: 5)
            for id in ["a", "b", "c"] { try await queue.submit(id) }
            try await queue.pull("w")
            try await queue.call("release", "worker", "w", "task", "a", "attempt", "1")
            #expect(try await queue.runAll("w") == ["a", "b", "c"])
        }
    }

    @Test func aRetriedTaskReturnsToItsPlaceBeforeLaterOnes() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w", slots: 5)
            for id in ["a", "b", "c"] { try await queue.submit(id) }
            try await queue.submit("urgent", priority: .critical)
            try await queue.pull("w", start: true)
            try await queue.finish("w", "urgent", attempt: 1, "completed")
            try await queue.pull("w", start: true)
            try await queue.finish("w", "a", attempt: 1, "failed")
            try await queue.submit("d")
            try await queue.age(by: .seconds(2))
            #expect(try await queue.tick().due == 1)
            #expect(try await queue.runAll("w") == ["a", "b", "c", "d"])
        }
    }

    @Test func aTaskRetriedByAPersonReturnsToItsPlace() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w")
            for id in ["a", "b"] { try await queue.submit(id) }
            try await queue.pull("w", start: true)
            try await queue.finish("w", "a", attempt: 1, "failed", ["retryable": "0"])
            let task = try await queue.handle.retryTask("a")
            #expect(task.state == .pending)
            #expect(task.position == 0)
            #expect(task.attempts.map(\.outcome) == ["failed"])
            #expect(try await queue.runAll("w") == ["a", "b"])
        }
    }

    @Test func aDelayedTaskTakesTheplaceOfItsSubmissionOnceItIsDue() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w")
            try await queue.submit("later", ["delay_ms": "5000"])
            try await queue.submit("now")
            #expect(try await queue.handle.getTask("later").heldBy == .schedule)
            try await queue.tick()
            #expect(try await queue.handle.getTask("later").heldBy == .schedule)
            try await queue.age(by: .seconds(6))
            try await queue.tick()
            #expect(try await queue.runAll("w") == ["later", "now"])
        }
    }

    @Test func aTaskWhoseTimeHasComeAlreadyIsNotHeld() async throws {
        try await TestQueue.run { queue in
            try await queue.submit("t", ["run_at": "1000"])
            let task = try await queue.handle.getTask("t")
            #expect(task.heldBy == nil)
            #expect(task.position == 0)
        }
    }

    @Test func theAnswerTellsThePositionInLine() async throws {
        try await TestQueue.run { queue in
            for (id, priority, position) in [("a", TaskPriority.normal, 0), ("b", .normal, 1), ("c", .critical, 0)] {
                let task = QueuedTask(BuildRequest(), priority: priority, id: id)
                let added = try await queue.handle.addTask(task)
                #expect(added.task.position == position)
                #expect(added.wokeWorker == false)
            }
        }
    }
}
