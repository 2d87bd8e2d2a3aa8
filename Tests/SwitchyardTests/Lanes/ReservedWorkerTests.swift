import SwitchyardTesting
import Testing

/// Which worker is reserved for a task that fits on none now, when only one of them pulls.
@Suite("The worker that is reserved")
struct ReservedWorkerTests {
    private static let settings = ["reserve_after_ms": 0, "lease_ms": 600_000]

    /// The worker that is reserved for `lane`.
    private func reserved(_ lane: String, _ queue: TestQueue) async throws -> String? {
        try await queue.raw("HGET", "{}reserved", lane).string?.split(separator: " ").first.map(String.init)
    }

    @Test func isTheOneWithRoomSoonestThoughAnotherAsks() async throws {
        try await TestQueue.run(settings: Self.settings) { queue in
            for (worker, limit) in [("late", "7200000"), ("soon", "60000")] {
                try await queue.register(worker, slots: 8, ["cpu": "8"])
                try await queue.submit("on-" + worker, ["cpu": "4", "timeout_ms": limit])
                #expect(try await queue.take(worker) == ["on-" + worker])
            }
            try await queue.submit("big", ["cpu": "8"])
            #expect(try await queue.take("late").isEmpty)
            #expect(try await reserved("+cpu=8", queue) == "soon")
        }
    }

    @Test func isNotTakenFromAMoreUrgentTask() async throws {
        try await TestQueue.run(settings: Self.settings) { queue in
            for (worker, limit) in [("late", "7200000"), ("soon", "60000")] {
                try await queue.register(
                    worker, slots: 8, worker == "soon" ? ["cpu": "8", "labels": "gpu"] : ["cpu": "8"])
                try await queue.submit("on-" + worker, ["cpu": "4", "timeout_ms": limit])
                #expect(try await queue.take(worker) == ["on-" + worker])
            }
            try await queue.submit("urgent", priority: .high, ["cpu": "8", "requires": "gpu"])
            #expect(try await queue.take("soon").isEmpty)
            #expect(try await reserved("gpu,+cpu=8", queue) == "soon")
            // Only the other worker considers this task: the more urgent one requires a label that it lacks.
            try await queue.submit("big", priority: .low, ["cpu": "8"])
            #expect(try await queue.take("late").isEmpty)
            #expect(try await reserved("gpu,+cpu=8", queue) == "soon")
            #expect(try await reserved("+cpu=8", queue) == "late")
        }
    }
}
