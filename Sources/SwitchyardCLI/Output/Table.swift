/// A table for people: aligned columns, two spaces apart, without lines. Empty columns are omitted, and lines have no
/// trailing spaces.
struct Table: Sendable {
    struct Column: Sendable {
        var title: String
        /// Numbers are aligned to the right.
        var isNumeric = false

        static func text(_ title: String) -> Column { Column(title: title) }
        static func number(_ title: String) -> Column { Column(title: title, isNumeric: true) }
    }

    struct Cell: Sendable, ExpressibleByStringInterpolation {
        var text: String
        var colour: Colour?

        init(_ text: String?, _ colour: Colour? = nil) {
            self.text = text ?? ""
            self.colour = colour
        }

        init(stringLiteral value: String) { self.init(value) }

        /// The text as one line.
        func text(colour isEnabled: Bool) -> String {
            let line = TerminalText.line(text)
            return colour?.paint(line, if: isEnabled) ?? line
        }
    }

    var columns: [Column]
    var rows: [[Cell]] = []

    init(_ columns: [Column]) {
        self.columns = columns
    }

    /// Limit on the characters of a cell. A longer text is cut and ends in "…".
    var maxCellWidth = 60

    func render(colour: Bool) -> String {
        let cells = rows.map { row in row.map { Cell(fitted($0.text), $0.colour) } }
        let shown = columns.indices.filter { index in cells.contains { index < $0.count && !$0[index].text.isEmpty } }
        let widths = columns.indices.map { index in
            max(columns[index].title.count, cells.map { index < $0.count ? $0[index].text.count : 0 }.max() ?? 0)
        }
        var lines: [String] = []
        if columns.contains(where: { !$0.title.isEmpty }) {
            lines.append(line(columns.map { Cell($0.title, .dim) }, shown, widths, colour))
        }
        lines += cells.map { line($0, shown, widths, colour) }
        return lines.map { $0 + "\n" }.joined()
    }

    private func line(_ cells: [Cell], _ shown: [Int], _ widths: [Int], _ colour: Bool) -> String {
        var line = ""
        for index in shown {
            let cell = index < cells.count ? cells[index] : Cell("")
            let padding = String(repeating: " ", count: max(widths[index] - cell.text.count, 0))
            let text = cell.colour?.paint(cell.text, if: colour) ?? cell.text
            if !line.isEmpty || index != shown.first { line += "  " }
            let isLast = index == shown.last
            line += columns[index].isNumeric ? padding + text : text + (isLast ? "" : padding)
        }
        while line.hasSuffix(" ") { line.removeLast() }
        return line
    }

    private func fitted(_ text: String) -> String {
        let line = TerminalText.line(text)
        return line.count > maxCellWidth ? line.prefix(maxCellWidth - 1) + "…" : line
    }
}
