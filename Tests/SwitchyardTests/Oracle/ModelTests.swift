import Foundation
import Switchyard
import SwitchyardTesting
import Testing

/// Thousands of random operations on a queue on real Redis, and on a model of it in memory. After each operation, every
/// task that it changed must be as the model says; after ten, every task that has not ended; and after forty
/// everything, with all keys. Each pull returns exactly what the model expects. At the end the queue is emptied, and
/// nothing of it may remain.
///
/// `SWITCHYARD_TEST_SEED` repeats a run, `SWITCHYARD_TEST_KIND` selects a kind, `SWITCHYARD_TEST_STEPS` sets the number
/// of operations, and `SWITCHYARD_TEST_TRACE` says how many of the last operations are printed.
@Suite("The model")
struct ModelTests {
    enum Kind: String, CaseIterable, CustomTestStringConvertible {
        /// `simple` has a queue without scheduling options, where the functions take their fast paths; `once` has
        /// tenants that come once; `crowd` has a hundred workers and a thousand lanes; `damage` loses keys, which the
        /// reconciler repairs.
        case plain, fair, aging, anotherSeed, simple, once, crowd, damage
        var testDescription: String { rawValue }
        /// All kinds; scripts/mutate runs only the kind that finds its fault.
        static var wanted: [Kind] {
            ProcessInfo.processInfo.environment["SWITCHYARD_TEST_KIND"].flatMap(Kind.init).map { [$0] } ?? allCases
        }

        var steps: Int {
            switch self {
            case .simple: TestLength.of(2600, long: 5200)
            case .crowd: TestLength.of(700, long: 1200)
            default: TestLength.of(1400, long: 2600)
            }
        }

        var settings: ModelSettings {
            var settings = ModelSettings()
            settings.isFair = self == .fair || self == .once
            settings.aging = self == .aging ? 1_200_000 : 0
            if self == .simple {
                settings.maxQueueLength = 12
                settings.retention = 3_600_000
            }
            if self == .crowd { settings.maxQueueLength = 3000 }
            return settings
        }
    }

    /// The operations that a run must have done to be meaningful.
    static let mixed = [
        "submit ok", "submit QUEUEFULL", "pull", "finish", "tick", "cancel_batch", "deregister", "stage ok", "open ok",
        "retry pending", "retry INVALIDSTATE", "abandon_batch", "purge", "ended",
    ]
    static let simple = [
        "submit new", "submit repeated", "submit QUEUEFULL", "submit TASKEXISTS", "submit BADREQUEST", "pull",
        "finish completed", "finish pending", "finish failed", "finish LEASELOST", "finish TASKNOTFOUND", "tick",
        "deregister", "drain",
    ]

    static let environment = ProcessInfo.processInfo.environment

    /// The operations that a run of a kind must have done.
    static func needed(_ kind: Kind) -> [String] {
        switch kind {
        case .simple: simple
        case .crowd: ["submit ok", "woken", "pull", "finish", "tick"]
        case .damage: ["reconcile"]
        case .plain, .fair, .aging, .anotherSeed, .once: mixed
        }
    }

    @Test(arguments: Kind.wanted)
    func agreesWithTheQueueAfterEachOperation(kind: Kind) async throws {
        let given = Self.environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init)
        let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
        let steps = Self.environment["SWITCHYARD_TEST_STEPS"].flatMap(Int.init) ?? kind.steps
        let arguments = ["--hash-max-listpack-value", "\(ModelSettings.shortValue)"]
        try await TestRedis.run(arguments: arguments) { redis in
            var run = try await Self.makeRun(kind, seed, on: redis)
            do {
                try await Self.go(kind, &run, steps)
            } catch {
                let shown = Self.environment["SWITCHYARD_TEST_TRACE"].flatMap(Int.init) ?? 15
                Issue.record(
                    """
                    SWITCHYARD_TEST_SEED=\(seed), \(kind.rawValue), last operations:
                    \(run.trace.suffix(shown).joined(separator: "\n"))
                    \(error)
                    """)
                return
            }
            guard steps >= kind.steps else { return }
            for operation in Self.needed(kind) {
                #expect(run.done[operation] != nil, "seed \(seed): never did \(operation): \(run.done)")
            }
        }
    }

    private static func makeRun(_ kind: Kind, _ seed: UInt64, on redis: TestRedis) async throws -> ModelRun {
        let queue = try await TestQueue(on: redis, settings: kind.settings.values)
        var run = ModelRun(
            queue: queue, model: ModelQueue(settings: kind.settings),
            generator: SeededGenerator(seed: kind == .anotherSeed ? ~seed : seed))
        run.isSimple = kind == .simple
        run.hasOneTimeTenants = kind == .once
        return run
    }

    private static func go(_ kind: Kind, _ run: inout ModelRun, _ steps: Int) async throws {
        switch kind {
        case .crowd:
            var crowd = ModelCrowd(run: run)
            defer { run = crowd.run }
            try await crowd.start()
            for step in 1...steps {
                try await crowd.step(step)
                if step % 500 == 0 { try await crowd.run.compareAll() }
            }
            try await crowd.run.empty()
        case .damage:
            // The model does not describe damage: each round has its own queue.
            for round in 0..<UInt64(max(1, steps / 200)) {
                let other = try await makeRun(kind, run.generator.next() &+ round, on: run.queue.redis)
                var damage = ModelDamage(run: other)
                defer { run.take(from: damage.run) }
                try await damage.run.run(steps: 160)
                try await damage.damage(8)
                try await damage.repair()
            }
        case .plain, .fair, .aging, .anotherSeed, .simple, .once:
            if kind.settings.isFair { try await run.makeFair() }
            try await run.run(steps: steps)
            try await run.empty()
        }
    }
}
