import Foundation
import Switchyard
import SwitchyardTesting
import Testing

/// Thousands of random operations on a queue on real Redis, and on a plain model of it in memory: after each one,
/// every task that it changed is as the model says, after ten every task that has not ended, and after forty everything, with
/// all keys. Each pull gives exactly what the model would. The kind `simple` has a queue in which the functions take their
/// short cuts. `SWITCHYARD_TEST_SEED` repeats a run.
@Suite("The model")
struct ModelTests {
    enum Kind: String, CaseIterable, CustomTestStringConvertible {
        case plain, fair, aging, anotherSeed, simple
        var testDescription: String { rawValue }
        /// All; scripts/plant-bugs runs only the kind that meets its bug.
        static var wanted: [Kind] {
            ProcessInfo.processInfo.environment["SWITCHYARD_TEST_KIND"].flatMap(Kind.init).map { [$0] } ?? allCases
        }
    }

    static let steps = 2600

    /// What a run must have done, so that it means something.
    static let mixed = ["submit ok", "submit QUEUEFULL", "pull", "finish", "tick", "cancel_batch", "deregister"]
    static let simple = [
        "submit new", "submit repeated", "submit QUEUEFULL", "submit TASKEXISTS", "submit BADREQUEST", "pull",
        "finish completed", "finish pending", "finish failed", "finish LEASELOST", "finish TASKNOTFOUND", "tick",
        "deregister", "drain",
    ]

    @Test(arguments: Kind.wanted)
    func agreesWithTheQueueAfterEachOperation(kind: Kind) async throws {
        let given = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init)
        let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
        var settings = ModelSettings()
        settings.isFair = kind == .fair
        settings.aging = kind == .aging ? 1_200_000 : 0
        if kind == .simple {
            settings.maxQueueLength = 12
            settings.retention = 3_600_000
        }
        let arguments = ["--hash-max-listpack-value", "\(ModelSettings.shortValue)"]
        try await TestRedis.run(arguments: arguments) { [settings] redis in
            let queue = try await TestQueue(on: redis, settings: settings.values)
            var run = ModelRun(
                queue: queue, model: ModelQueue(settings: settings),
                generator: SeededGenerator(seed: kind == .anotherSeed ? ~seed : seed))
            run.isSimple = kind == .simple
            do {
                if settings.isFair { try await run.makeFair() }
                for step in 1...(run.isSimple ? 2 * Self.steps : Self.steps) {
                    try await run.step()
                    if step % 40 == 0 { try await run.compareAll() }
                    if step % 60 == 0, !run.isSimple { try await run.purgeEnded() }
                }
                try await run.compareAll()
            } catch {
                Issue.record(
                    """
                    SWITCHYARD_TEST_SEED=\(seed), \(kind.rawValue), last operations:
                    \(run.trace.suffix(15).joined(separator: "\n"))
                    \(error)
                    """)
                return
            }
            for operation in run.isSimple ? Self.simple : Self.mixed {
                #expect(run.done[operation] != nil, "seed \(seed): never did \(operation): \(run.done)")
            }
        }
    }
}
