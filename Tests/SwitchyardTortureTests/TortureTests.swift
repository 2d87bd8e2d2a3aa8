import Foundation
import Logging
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardTorture

/// Real processes under faults. A short run; `switchyard torture` makes longer ones.
@Suite("Torture", .serialized) struct TortureTests {
    /// The built `switchyard`, in the directory of the test bundle.
    private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("switchyard").path

    private func run(_ adjust: (inout TorturePlan) -> Void) async throws -> TortureReport {
        var plan = TorturePlan()
        plan.seed = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SEED"].flatMap { UInt64($0) } ?? 3
        plan.library = try TestLibrary.text()
        // It would replace a library with a planted fault.
        if plan.library != nil { plan.faults.removeAll { $0 == .flushFunctions } }
        adjust(&plan)
        let torture = Torture(
            plan: plan, program: Self.program, logger: TestRedis.quiet, progress: { _ in })
        return try await torture.run()
    }

    @Test func nothingIsLostOrDoneTwice() async throws {
        let report = try await run { $0.duration = .seconds(40) }
        #expect(report.violations.isEmpty, "\(report.text)")
        #expect(report.settled != nil)
        #expect(report.figures.contains { $0.name == "tasks completed" && $0.value > 100 })
        #expect(report.faults.count > 5)
    }
}
