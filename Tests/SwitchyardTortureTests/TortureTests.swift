import Foundation
import Logging
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardTorture

/// Real processes under faults. Short runs; `switchyard torture` and `scripts/torture` make longer ones.
@Suite("Torture", .serialized) struct TortureTests {
    /// The built `switchyard`, in the directory of the test bundle.
    private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("switchyard").path

    /// Whether tests of minutes run too (`scripts/test --all`).
    static let isLong = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_LONG"] == "1"

    private func run(_ adjust: (inout TorturePlan) throws -> Void) async throws -> TortureReport {
        var plan = TorturePlan()
        plan.seed = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SEED"].flatMap { UInt64($0) } ?? 3
        plan.library = try TestLibrary.text()
        // It would replace a library with a planted fault.
        if plan.library != nil { plan.faults.removeAll { $0 == .flushFunctions } }
        try adjust(&plan)
        let torture = Torture(
            plan: plan, program: Self.program, logger: TestRedis.quiet, progress: { _ in })
        return try await torture.run()
    }

    /// A short run without faults that concern workers, with a planted bug if one is given.
    private func run(_ bug: PlantedBug?, for duration: Duration) async throws -> TortureReport {
        let library = try bug.map { try $0.mutation.applied(to: FunctionLibrary.source) }
        return try await run { plan in
            plan.duration = duration
            plan.calm = .zero
            // A planted bug may let tasks never end. A clean run has the usual time.
            if bug != nil { plan.settling = .seconds(3) }
            plan.faults = bug?.faults ?? [.killSubscribers]
            plan.backlog = bug?.backlog ?? 300
            plan.library = library
        }
    }

    private func expect(_ bug: PlantedBug, foundWithin duration: Duration) async throws {
        let report = try await run(bug, for: duration)
        let rules = Set(report.violations.map(\.rule))
        #expect(rules.contains(bug.rule), "\(rules)")
    }

    @Test func nothingIsLostOrDoneTwice() async throws {
        let report = try await run { $0.duration = .seconds(12) }
        #expect(report.violations.isEmpty, "\(report.text)")
        #expect(report.settled != nil)
        #expect(report.figures.contains { $0.name == "tasks completed" && $0.value > 100 })
        #expect(report.faults.count > 2)
    }

    @Test(arguments: PlantedBug.quick) func findsAPlantedBug(_ bug: PlantedBug) async throws {
        try await expect(bug, foundWithin: .seconds(2))
    }

    @Test func findsNothingWithoutAPlantedBug() async throws {
        let report = try await run(nil, for: .seconds(2))
        #expect(report.violations.isEmpty, "\(report.text)")
    }

    @Test(.enabled(if: isLong), arguments: PlantedBug.slow) func findsAHiddenBug(_ bug: PlantedBug) async throws {
        try await expect(bug, foundWithin: .seconds(8))
    }

    /// The runs in which the hidden bugs are found, without them.
    @Test(.enabled(if: isLong)) func findsNothingWithoutAHiddenBug() async throws {
        var seen: Set<String> = []
        for bug in PlantedBug.slow where seen.insert("\(bug.faults) \(bug.backlog)").inserted {
            let report = try await run { plan in
                plan.duration = .seconds(8)
                plan.calm = .zero
                plan.faults = bug.faults
                plan.backlog = bug.backlog
            }
            #expect(report.violations.isEmpty, "\(report.text)")
        }
    }

    /// With another library than that of this build (``TestLibrary``) there is only one server.
    @Test(.enabled(if: TestLibrary.isBuilt)) func nothingIsLostInFailovers() async throws {
        let report = try await run { plan in
            plan.duration = .seconds(8)
            plan.backlog = 300
            let failover: FaultKind = plan.seed % 2 == 0 ? .clusterFailover : .sentinelFailover
            try plan.choose(faults: [failover, .killWorker])
        }
        #expect(report.violations.isEmpty, "\(report.text)")
        #expect(report.settled != nil)
        #expect(report.figures.contains { $0.name == "tasks completed" && $0.value > 100 })
        let failovers = report.faults.first { $0.kind.movesQueue }
        #expect(failovers?.recovery.slowestWrite != nil, "\(report.text)")
    }

    @Test(.enabled(if: isLong && TestLibrary.isBuilt), arguments: [RedisKind.sentinel, .cluster])
    func survivesEverythingOn(_ redis: RedisKind) async throws {
        let report = try await run { plan in
            plan.duration = .seconds(60)
            try plan.choose(faults: [], on: redis)
        }
        #expect(report.violations.isEmpty, "\(report.text)")
    }

    @Test(.enabled(if: isLong), arguments: FaultKind.allCases) func survives(_ kind: FaultKind) async throws {
        let report = try await run { plan in
            plan.duration = .seconds(15)
            try plan.choose(faults: [kind])
            if plan.redis != .server { plan.library = nil }
        }
        #expect(report.violations.isEmpty, "\(report.text)")
        #expect(report.faults.contains { $0.kind == kind })
    }
}
