import Foundation
import Switchyard
import SwitchyardTesting
import Testing

/// Thousands of random operations on a queue on real Redis, and on a plain model of it in memory: after each one, every
/// task that has not ended is where the model says; each pull gives exactly what the model would; now and then everything
/// is compared. `SWITCHYARD_TEST_SEED` repeats a run.
@Suite("The model")
struct ModelTests {
    enum Kind: String, CaseIterable, CustomTestStringConvertible {
        case plain, fair, aging, anotherSeed
        var testDescription: String { rawValue }
    }

    static let steps = 2600

    @Test(arguments: Kind.allCases)
    func agreesWithTheQueueAfterEachOperation(kind: Kind) async throws {
        let given = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init)
        let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
        var settings = ModelSettings()
        settings.isFair = kind == .fair
        settings.aging = kind == .aging ? 1_200_000 : 0
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis, settings: settings.values)
            var run = ModelRun(
                queue: queue, model: ModelQueue(settings: settings),
                generator: SeededGenerator(seed: kind == .anotherSeed ? ~seed : seed))
            do {
                if settings.isFair { try await run.makeFair() }
                for step in 1...Self.steps {
                    try await run.step()
                    if step % 40 == 0 { try await run.compareAll() }
                    if step % 120 == 0 { try await run.purgeEnded() }
                }
                try await run.compareAll()
            } catch {
                Issue.record(
                    """
                    SWITCHYARD_TEST_SEED=\(seed), \(kind.rawValue), last operations:
                    \(run.trace.suffix(15).joined(separator: "\n"))
                    \(error)
                    """)
            }
            for operation in ["submit ok", "submit QUEUEFULL", "pull", "finish", "tick", "cancel_batch", "deregister"] {
                #expect(run.done[operation] != nil, "seed \(seed): never did \(operation): \(run.done)")
            }
        }
    }
}
