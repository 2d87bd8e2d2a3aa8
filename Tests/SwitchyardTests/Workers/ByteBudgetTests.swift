import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A pull's reply has at most as many bytes as the worker can receive, but at least one task.
@Suite("The byte budget of a pull")
struct ByteBudgetTests {
    private func submit(_ count: Int, bytes: Int, to queue: TestQueue) async throws {
        for n in 0..<count { try await queue.submit("t\(n)", ["payload": String(repeating: "p", count: bytes)]) }
    }

    @Test(
        arguments: [
            // Bytes of a payload, the budget (nil: none), and the tasks that fit.
            (bytes: 1000, budget: 10_000, fits: 10), (1000, 9999, 9), (1000, 1, 1), (1000, nil, 12),
            (300_000, nil, 3), (300_000, 1_048_576, 3), (300_000, 600_000, 2), (1_000_000, nil, 1),
            (1_000_000, 16_384, 1),
        ])
    func holdsForEachReply(bytes: Int, budget: Int?, fits: Int) async throws {
        try await TestQueue.run { queue in
            try await submit(12, bytes: bytes, to: queue)
            let worker = try await queue.worker("w", slots: 16)
            var pulled: [String] = []
            var lastCount = 0
            repeat {
                let part = try await worker.pull(max: 16, holding: pulled.count, maxBytes: budget)
                lastCount = part.count
                pulled += part.map(\.id)
                #expect(lastCount <= fits)
                if pulled.count + fits <= 12 {
                    #expect(lastCount == fits)
                    // The worker is told that there is more.
                    #expect(try await queue.raw("LLEN", "{}wake:w").int == 1)
                }
            } while lastCount > 0
            #expect(pulled == (0..<12).map { "t\($0)" })
        }
    }

    /// The reply to a report has the same budget, also where a fast path serves calls without one.
    @Test(arguments: [100, nil] as [Int?], [1, 3])
    func holdsForThePullOfAReport(budget: Int?, wants: Int) async throws {
        try await TestQueue.run { queue in
            try await submit(8, bytes: 100, to: queue)
            let worker = try await queue.worker("w", slots: 4)
            _ = try await worker.pull(max: 1, holding: 0)
            let report = WorkerClient.Report(taskID: "t0", attempt: 1, outcome: .completed)
            let reply = try await worker.finish([report], pull: wants, holding: 0, maxBytes: budget)
            #expect(reply.states == [.success(.completed)])
            #expect(reply.assignments.count == (budget == nil ? wants : 1))
        }
    }

    /// Whatever was lost comes again in as many replies as it takes, and the worker is woken for each.
    @Test(arguments: [(bytes: 400_000, budget: nil, most: 2), (100, 250, 2), (100, 1, 1)] as [(Int, Int?, Int)])
    func holdsForAttemptsThatAreSentAgain(bytes: Int, budget: Int?, most: Int) async throws {
        try await TestQueue.run { queue in
            try await submit(7, bytes: bytes, to: queue)
            let worker = try await queue.worker("w", slots: 6)
            // The replies are lost.
            while try await queue.snapshot().sortedSet("leases").count < 6 {
                _ = try await worker.pull(max: 6, holding: 6)
            }
            for _ in 0..<3 {
                try await queue.raw("DEL", "{}wake:w")
                let again = try await worker.pull(max: 6, holding: 0, maxBytes: budget)
                // The size counts all fields of an attempt that is sent again.
                #expect((1...most).contains(again.count))
                #expect(again.allSatisfy { $0.attempt == 1 })
                #expect(try await queue.raw("LLEN", "{}wake:w").int == 1)
            }
            #expect(try await queue.snapshot().sortedSet("pending").count == 1)
        }
    }
}
