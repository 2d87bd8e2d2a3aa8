/// The result of the benchmark, as JSON for programs and as tables for people.
struct BenchReport: Sendable {
    struct Chapter: Sendable {
        var title: String
        var figures: [Figure]
    }

    /// Versions, machine and plan: the top-level strings and numbers of the JSON.
    var circumstances: [String: JSONValue]
    var chapters: [Chapter] = []

    private var figures: [Figure] { chapters.flatMap(\.figures) }

    /// The value of a floor: measured, except for the payload, whose size is fixed.
    private func value(of floor: Figure.Floor) -> Double? {
        if floor == .payload { return Double(BenchLoad.payloadBytes) }
        return figures.first { $0.path == ["floor", floor.rawValue] }?.value
    }

    private func ratio(_ figure: Figure) -> Double? {
        figure.floor.flatMap(value(of:)).flatMap(figure.ratio(to:))
    }

    // MARK: JSON

    /// The report as JSON: every figure's value at its path. The same tree occurs under `spread`, with the minimum and
    /// the maximum of the runs, and under `ratios`, with the floor's name and the ratio to it.
    var json: JSONValue {
        var root = JSONTree()
        var spread = JSONTree()
        var ratios = JSONTree()
        for (name, value) in circumstances { root.put(value, at: [name]) }
        for figure in figures {
            root.put(.number(Self.rounded(figure.value)), at: figure.path)
            let bounds = [figure.samples.min(), figure.samples.max()].compactMap { $0 }
            spread.put(.array(bounds.map { .number(Self.rounded($0)) }), at: figure.path)
            if let floor = figure.floor, let ratio = ratio(figure) {
                ratios.put(
                    .object(["floor": .string(floor.rawValue), "ratio": .number(Self.rounded(ratio))]), at: figure.path)
            }
        }
        root.put(spread.value, at: ["spread"])
        root.put(ratios.value, at: ["ratios"])
        return root.value
    }

    /// Rounds to four decimals, so that a round trip in ms keeps tenths of a microsecond.
    private static func rounded(_ value: Double) -> Double { (value * 10_000).rounded() / 10_000 }

    // MARK: Tables

    func tables(colour: Bool) -> String {
        chapters.compactMap { chapter in
            var table = Table([
                .text(chapter.title.uppercased()), .number("MEDIAN"), .number("MIN – MAX"), .number("FLOORS"),
                .text(""),
            ])
            table.maxCellWidth = 100
            table.rows = chapter.figures.compactMap { figure in
                figure.label.map { row(figure, $0) }
            }
            return table.rows.isEmpty ? nil : table.render(colour: colour)
        }.joined(separator: "\n")
    }

    private func row(_ figure: Figure, _ label: String) -> [Table.Cell] {
        let least = figure.samples.min() ?? figure.value
        let most = figure.samples.max() ?? figure.value
        let ratio = ratio(figure).map { Figure.Unit.digits($0) + " × " + (figure.floor?.name ?? "") }
        return [
            Table.Cell(label), Table.Cell(figure.unit.text(figure.value), .bold),
            Table.Cell(
                figure.samples.count > 1
                    ? "\(Self.number(figure.unit, least)) – \(Self.number(figure.unit, most))" : ""),
            Table.Cell(ratio ?? ""), Table.Cell(figure.note, .dim),
        ]
    }

    /// The value as text, without its unit.
    private static func number(_ unit: Figure.Unit, _ value: Double) -> String {
        let text = unit.text(value)
        return text.split(whereSeparator: { $0 == " " || $0 == "/" }).first.map(String.init) ?? text
    }
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

    var value: JSONValue { .object(leaves.merging(branches.mapValues(\.value)) { leaf, _ in leaf }) }
}
