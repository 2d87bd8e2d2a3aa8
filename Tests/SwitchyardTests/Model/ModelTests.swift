import Foundation
import Switchyard
import SwitchyardTesting
import Testing

/// Thousands of random operations on a queue on real Redis, and on a plain model of it in memory: after each one,
/// every task that it changed is as the model says, after ten every task that has not ended, and after forty everything, with
/// all keys. Each pull gives exactly what the model would. At the end the queue is emptied, and nothing is left of it.
///
/// `SWITCHYARD_TEST_SEED` repeats a run, `SWITCHYARD_TEST_KIND` chooses a kind, and `SWITCHYARD_TEST_STEPS` makes a run as long.
@Suite("The model")
struct ModelTests {
    enum Kind: String, CaseIterable, CustomTestStringConvertible {
        /// `simple` has a queue in which the functions take their short cuts; `once` has tenants that come once.
        case plain, fair, aging, anotherSeed, simple, once
        var testDescription: String { rawValue }
        /// All; scripts/plant-bugs runs only the kind that meets its bug.
        static var wanted: [Kind] {
            ProcessInfo.processInfo.environment["SWITCHYARD_TEST_KIND"].flatMap(Kind.init).map { [$0] } ?? allCases
        }

        var settings: ModelSettings {
            var settings = ModelSettings()
            settings.isFair = self == .fair || self == .once
            settings.aging = self == .aging ? 1_200_000 : 0
            if self == .simple {
                settings.maxQueueLength = 12
                settings.retention = 3_600_000
            }
            return settings
        }
    }

    /// What a run must have done, so that it means something.
    static let mixed = [
        "submit ok", "submit QUEUEFULL", "pull", "finish", "tick", "cancel_batch", "deregister", "stage ok", "open ok",
        "open TASKEXISTS", "open again", "retry pending", "retry INVALIDSTATE", "abandon_batch", "purge",
    ]
    static let simple = [
        "submit new", "submit repeated", "submit QUEUEFULL", "submit TASKEXISTS", "submit BADREQUEST", "pull",
        "finish completed", "finish pending", "finish failed", "finish LEASELOST", "finish TASKNOTFOUND", "tick",
        "deregister", "drain",
    ]

    @Test(arguments: Kind.wanted)
    func agreesWithTheQueueAfterEachOperation(kind: Kind) async throws {
        let environment = ProcessInfo.processInfo.environment
        let seed = environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 0...UInt64(UInt32.max))
        let steps = environment["SWITCHYARD_TEST_STEPS"].flatMap(Int.init) ?? (kind == .simple ? 5200 : 2600)
        let arguments = ["--hash-max-listpack-value", "\(ModelSettings.shortValue)"]
        try await TestRedis.run(arguments: arguments) { redis in
            let queue = try await TestQueue(on: redis, settings: kind.settings.values)
            var run = ModelRun(
                queue: queue, model: ModelQueue(settings: kind.settings),
                generator: SeededGenerator(seed: kind == .anotherSeed ? ~seed : seed))
            run.isSimple = kind == .simple
            run.hasOneTimeTenants = kind == .once
            do {
                if kind.settings.isFair { try await run.makeFair() }
                try await run.run(steps: steps)
                try await run.empty()
            } catch {
                Issue.record(
                    """
                    SWITCHYARD_TEST_SEED=\(seed), \(kind.rawValue), last operations:
                    \(run.trace.suffix(15).joined(separator: "\n"))
                    \(error)
                    """)
                return
            }
            guard steps >= 2600 else { return }
            for operation in run.isSimple ? Self.simple : Self.mixed {
                #expect(run.done[operation] != nil, "seed \(seed): never did \(operation): \(run.done)")
            }
        }
    }
}
