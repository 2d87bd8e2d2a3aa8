import JSON

/// The result of the benchmark: chapters of figures, and the same as JSON.
package struct BenchReport: Sendable {
    package struct Chapter: Sendable {
        package var title: String
        package var figures: [Figure]

        package init(title: String, figures: [Figure]) {
            self.title = title
            self.figures = figures
        }
    }

    /// Versions, machine and plan: the top-level strings and numbers of the JSON.
    package var circumstances: [String: JSONValue]
    package var chapters: [Chapter]

    package init(circumstances: [String: JSONValue], chapters: [Chapter]) {
        self.circumstances = circumstances
        self.chapters = chapters
    }

    private var figures: [Figure] { chapters.flatMap(\.figures) }

    /// The value of a floor: measured, except for the payload, whose size is fixed.
    private func value(of floor: Figure.Floor) -> Double? {
        if floor == .payload { return Double(BenchLoad.payloadBytes) }
        return figures.first { $0.path == ["floor", floor.rawValue] }?.value
    }

    /// The figure divided by its floor; nil if it has none.
    package func ratio(_ figure: Figure) -> Double? {
        figure.floor.flatMap(value(of:)).flatMap(figure.ratio(to:))
    }

    // MARK: JSON

    /// The report as JSON: every figure's value at its path. The same tree occurs under `spread`, with the minimum and
    /// the maximum of the runs, and under `ratios`, with the floor's name and the ratio to it.
    package var json: JSONValue {
        var root = JSONTree()
        var spread = JSONTree()
        var ratios = JSONTree()
        for (name, value) in circumstances { root.put(value, at: [name]) }
        for figure in figures {
            root.put(Self.number(figure.value), at: figure.path)
            let bounds = [figure.samples.min(), figure.samples.max()].compactMap { $0 }
            spread.put(.array(bounds.map(Self.number)), at: figure.path)
            if let floor = figure.floor, let ratio = ratio(figure) {
                ratios.put(["floor": .string(floor.rawValue), "ratio": Self.number(ratio)], at: figure.path)
            }
        }
        root.put(spread.value, at: ["spread"])
        root.put(ratios.value, at: ["ratios"])
        return root.value
    }

    /// Rounds to four decimals, so that a round trip in ms keeps tenths of a microsecond.
    private static func number(_ value: Double) -> JSONValue { JSONValue((value * 10_000).rounded() / 10_000) }
}

/// Builds a JSON object from values at paths.
private struct JSONTree {
    private var leaves: [String: JSONValue] = [:]
    private var branches: [String: JSONTree] = [:]

    mutating func put(_ value: JSONValue, at path: some Collection<String>) {
        guard let name = path.first else { return }
        if path.count == 1 {
            leaves[name] = value
        } else {
            branches[name, default: JSONTree()].put(value, at: path.dropFirst())
        }
    }

    var value: JSONValue { JSONValue(sorted: leaves.merging(branches.mapValues(\.value)) { leaf, _ in leaf }) }
}
