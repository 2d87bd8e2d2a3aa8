/// What a run of the benchmark found, as JSON for programs and as tables for people.
struct BenchReport: Sendable {
    struct Chapter: Sendable {
        var title: String
        var figures: [Figure]
    }

    /// What was measured, where: strings and numbers at the top of the JSON.
    var circumstances: [String: JSONValue]
    var chapters: [Chapter] = []

    private var figures: [Figure] { chapters.flatMap(\.figures) }

    /// The floors that were measured, and the one that is given.
    private func value(of floor: Figure.Floor) -> Double? {
        if floor == .payload { return Double(BenchLoad.payloadBytes) }
        return figures.first { $0.path == ["floor", floor.rawValue] }?.value
    }

    private func ratio(_ figure: Figure) -> Double? {
        figure.floor.flatMap(value(of:)).flatMap(figure.ratio(to:))
    }

    // MARK: JSON

    /// Every figure at its path; the same tree again under `spread` with the least and the most of the runs, and under
    /// `ratios` with the floor and how many times it the figure is.
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

    /// Four decimals: microseconds of a round trip in ms.
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

    /// Without its unit.
    private static func number(_ unit: Figure.Unit, _ value: Double) -> String {
        let text = unit.text(value)
        return text.split(whereSeparator: { $0 == " " || $0 == "/" }).first.map(String.init) ?? text
    }
}

/// A JSON object that grows by paths.
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
