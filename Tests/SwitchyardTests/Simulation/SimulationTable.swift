import Foundation
import Switchyard

extension SimulationFigures {
    /// The figures as text, for people.
    func table(_ title: String) -> String {
        (["", title] + levels + shares + packing + bigTasks + idleness + idleExamples.map { "    " + $0 })
            .joined(separator: "\n")
    }

    private var levels: [String] {
        let lines = TaskPriority.allCases.map { priority in
            let name = priority.rawValue.padding(toLength: 10, withPad: " ", startingAt: 0)
            let columns = [
                "\(starts[priority] ?? 0)", Self.seconds(meanWait(priority)),
                Self.seconds(longestWait[priority] ?? 0),
            ]
            return "  " + name + columns.map { Self.right($0, 12) }.joined()
        }
        return ["  level           starts   mean wait     longest"] + lines
    }

    private var shares: [String] {
        let weights = SimulatedLoad.weights
        func row(_ name: String, _ parts: [Int]) -> String {
            let total = Double(max(1, parts.reduce(0, +)))
            let columns = parts.map { Self.right(Self.percent(Double($0) / total), 9) }.joined()
            return "  " + name.padding(toLength: 16, withPad: " ", startingAt: 0) + columns
        }
        let rows = TaskPriority.allCases.compactMap { priority in
            sharedStarts[priority].map { row(priority.rawValue, $0) + "   of \($0.reduce(0, +)) starts" }
        }
        guard !rows.isEmpty else { return [] }
        return [row("weights", weights)] + rows + ["  worst difference \(Self.percent(worstShare))"]
    }

    private var packing: [String] {
        let ratio = Self.percent(utilisation / oracleUtilisation)
        return [
            "  utilisation of \(SimulatedFleet.capacity) cpu: \(Self.percent(utilisation)); "
                + "oracle \(Self.percent(oracleUtilisation)); ratio \(ratio)",
            "  most running of limits \(SimulatedLoad.limits): \(mostRunning); overtakes beyond aging: \(overtakes)",
        ]
    }

    private var bigTasks: [String] {
        let late = bigStarts.filter { $0.late > 0 }
        return [
            "  tasks that need a whole worker: \(bigStarts.count) started, waits \(Self.spread(bigStarts.map(\.wait)))",
            "    behind the soonest room \(Self.spread(bigStarts.map(\.behindSoonest)))",
            "    late \(late.count) \(late.map { Self.seconds($0.late) }), not started \(bigNeverStarted.count)",
        ]
    }

    private var idleness: [String] {
        [
            "  a worker was idle beside work: \(idleLooks) of \(looks) looks, \(idleLooksAtFirst) in the first minute",
            "  a reserved worker was idle beside work that would not delay: \(idleReservedLooks) of \(reservedLooks)",
            "  calls \(calls), pulls in vain \(vainPulls)",
        ]
    }

    private static func spread(_ times: [Int]) -> String {
        "\(seconds(times.reduce(0, +) / max(1, times.count))) on average, \(seconds(times.max() ?? 0)) at most"
    }

    private static func percent(_ value: Double) -> String { String(format: "%.1f %%", value * 100) }
    private static func seconds(_ time: Int) -> String { String(format: "%.0f s", Double(time) / 1000) }

    private static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
