import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Fairness, reservations, limits and packing in an hour of 200 workers of 10 classes and 5 tenants, in virtual time;
/// in half an hour, unless the tests are long.
/// `SWITCHYARD_TEST_SEED` repeats a run.
@Suite("A simulated hour", .serialized)
struct SimulationTests {
    private let seed =
        ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init)
        ?? UInt64.random(in: 0...UInt64(UInt32.max))

    private func simulate(
        _ options: Simulation.Options, horizon: Int = TestLength.of(1_800_000, long: 3_600_000)
    ) async throws -> SimulationFigures {
        try await TestRedis.run { redis in
            try await VirtualTime.begin(on: redis)
            let load = SimulatedLoad(seed: seed, horizon: horizon)
            var simulation = Simulation(try await TestQueue(on: redis), load, options)
            try await simulation.run()
            let figures = simulation.figures
            print(
                figures.table(
                    "\(horizon / 60_000) simulated minutes, SWITCHYARD_TEST_SEED=\(seed), aging_ms \(options.agingMs), "
                        + (options.hasTenants ? "5 tenants" : "no tenants")))
            return figures
        }
    }

    /// What must hold under all settings.
    private func check(_ figures: SimulationFigures) {
        #expect(figures.faults == [], "seed \(seed)")
        #expect(figures.utilisation >= 0.95 * figures.oracleUtilisation, "seed \(seed)")
        #expect(Double(figures.idleLooks) <= 0.001 * Double(figures.looks), "seed \(seed): \(figures.idleExamples)")
        // A reserved worker that sleeps pulls again when it is woken, and after the next tick at the latest: some
        // checks find it before that.
        #expect(figures.idleReservedLooks <= figures.reservedLooks / 20, "seed \(seed): \(figures.idleExamples)")
    }

    @Test func withStrictLevels() async throws {
        let figures = try await simulate(Simulation.Options())
        check(figures)
        #expect(figures.worstShare <= 0.02 && figures.sharedLevels >= 3, "seed \(seed)")
        #expect(figures.bigNeverStarted == [], "seed \(seed)")
        withKnownIssue("a reservation does not always keep its time", isIntermittent: true) {
            #expect(figures.bigStarts.filter { $0.late > 0 }.map(\.late) == [], "seed \(seed)")
        }
        let means = TaskPriority.allCases.map(figures.meanWait)
        #expect(means == means.sorted(), "seed \(seed): \(means)")
    }

    @Test func withAging() async throws {
        let figures = try await simulate(Simulation.Options(agingMs: 600_000))
        check(figures)
        #expect(figures.worstShare <= 0.02 && figures.sharedLevels >= 3, "seed \(seed)")
    }

    /// A level is worth five minutes: a task that was submitted so much earlier goes first.
    @Test func withAgingAndWithoutTenants() async throws {
        let options = Simulation.Options(agingMs: 300_000, hasTenants: false)
        let figures = try await simulate(options, horizon: 1_200_000)
        check(figures)
        #expect(figures.overtakes == 0, "seed \(seed)")
    }
}
