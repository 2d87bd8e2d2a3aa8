import SwitchyardBench

extension BenchReport {
    /// A table for each chapter, without the figures that are only in the JSON.
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
