import Foundation
import Testing

@testable import SwitchyardCLI

@Suite struct PoolSizeTests {
    private let start = ContinuousClock.now

    private func sizes(_ wanted: [(second: Int, wanted: Int)], range: ClosedRange<Int> = 1...8) -> [Int] {
        var size = PoolSize(range: range, coolDown: .seconds(30))
        return wanted.map { second, wanted in
            size.note(wanted: wanted, now: start + .seconds(second))
            return size.target
        }
    }

    @Test func itGrowsAtOnceUpToItsMost() {
        #expect(sizes([(0, 0), (1, 5), (2, 100)]) == [1, 5, 8])
    }

    @Test func itShrinksOnlyAfterTheCoolDown() {
        #expect(sizes([(0, 8), (1, 0), (30, 0), (31, 0)]) == [8, 8, 8, 1])
    }

    @Test func itShrinksToTheMostThatWasWantedMeanwhile() {
        #expect(sizes([(0, 8), (1, 0), (20, 4), (31, 0), (60, 0), (61, 0)]) == [8, 8, 8, 4, 4, 1])
    }

    @Test func aDemandThatComesBackStartsTheCoolDownAnew() {
        #expect(sizes([(0, 4), (1, 0), (29, 4), (32, 0), (61, 0), (62, 0)]) == [4, 4, 4, 4, 4, 1])
    }

    @Test func theIdleLeaveFirstAndOfThemTheLatest() {
        let workers: [(number: Int, processID: Int32?)] = [(1, 11), (2, 12), (3, 13), (4, nil)]
        #expect(AutoscaledPool.leaving(2, of: workers, [13]) == [4, 2])
        #expect(AutoscaledPool.leaving(4, of: workers, [11, 12, 13]) == [4, 3, 2, 1])
    }

    @Test(arguments: [
        ["--max", "0", "--", "true"], ["--max", "4"], ["--min", "5", "--max", "4", "--", "true"],
        ["--min", "-1", "--max", "4", "--", "true"], ["--max", "4", "--interval", "0", "--", "true"],
    ])
    func badUsageExitsWith64(arguments: [String]) {
        let error = #expect(throws: (any Error).self) { try SwitchyardCommand.parseAsRoot(["autoscale"] + arguments) }
        #expect(error.map { SwitchyardCommand.exitCode(for: $0).rawValue } == 64)
    }

    @Test func theCommandMayHaveDashesOfItsOwn() throws {
        let arguments = [
            "autoscale", "--max", "4", "--", "switchyard", "worker", "--id", "auto-{n}", "--", "make", "{target}",
        ]
        let command = try #require(try SwitchyardCommand.parseAsRoot(arguments) as? Autoscale)
        #expect(command.command == Array(arguments.dropFirst(4)))
    }
}
