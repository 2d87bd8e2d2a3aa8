/// Measures the whole life of tasks with one scheduling option at a time, and compares it with tasks without options.
struct OptionsMeasurement: Sendable {
    let context: BenchContext

    func run() async throws -> [Figure] {
        try await figures(1, "single", "a call per task") + figures(16, "batch", "batches of 16")
    }

    private func figures(_ perCall: Int, _ size: String, _ label: String) async throws -> [Figure] {
        var baseline: Double?
        var figures: [Figure] = []
        for option in BenchOption.allCases {
            var load = try context.load(perCall: perCall)
            load.option = option
            let lives = try await context.runs("\(option.title), \(label)") { [load] isWarmUp in
                try await load.life(context.share(of: context.plan.tasks / 4, isWarmUp: isWarmUp)).whole
            }
            let cost = Figure.median(lives.map(\.cpuMicroseconds))
            let commands = Figure.Unit.decimals(Figure.median(lives.map(\.commands)), 1)
            let note = baseline.map { ", \(Figure.Unit.digits(cost / $0)) × a task without options" } ?? ""
            figures.append(
                Figure(
                    ["options", option.rawValue, size], "\(option.title), \(label)", .microseconds,
                    lives.map(\.cpuMicroseconds), floor: .call, note: "\(commands) commands" + note))
            if option == .none { baseline = cost }
        }
        return figures
    }
}
