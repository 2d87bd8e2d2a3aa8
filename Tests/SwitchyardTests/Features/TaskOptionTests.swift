import Foundation
import Switchyard
import Testing

/// The table of options, and the documentation that it renders.
@Suite struct TaskOptionTests {
    /// The section "All options" of Scheduling.md, below its heading.
    static var section: String {
        let rows = TaskOption.all.map { option in
            let needs = option.needs.flatMap(TaskOption.named).map { "; needs `--\($0.flag)`" } ?? ""
            let help = option.help.replacing("|", with: "\\|")
            let flags = [option.flag, option.sizeFlag].compactMap(\.self).map { "`--\($0)`" }.joined(separator: ", ")
            return "| \(flags) | `\(option.field)` | \(option.kind.summary)\(needs) | \(help) |"
        }
        return """
            | flag | HTTP field | type and bounds | meaning |
            |---|---|---|---|

            """ + rows.joined(separator: "\n") + "\n"
    }

    static let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../../Sources/Switchyard/Switchyard.docc/Scheduling.md").standardized

    /// `SWITCHYARD_TEST_REFRESH=1` writes the section instead.
    @Test func theDocumentationShowsTheTable() throws {
        let page = try String(contentsOf: Self.page, encoding: .utf8)
        let start = try #require(page.range(of: "## All options\n\n")).upperBound
        let end = page.range(of: "\n## ", range: start..<page.endIndex)?.lowerBound ?? page.endIndex
        if ProcessInfo.processInfo.environment["SWITCHYARD_TEST_REFRESH"] == "1" {
            try page.replacingCharacters(in: start..<end, with: Self.section)
                .write(to: Self.page, atomically: true, encoding: .utf8)
        } else {
            #expect(page[start..<end] == Self.section, "the section should be:\n\(Self.section)")
        }
    }

    @Test func namesAreUniqueAndNeededOptionsExist() {
        #expect(Set(TaskOption.all.map(\.field)).count == TaskOption.all.count)
        #expect(Set(TaskOption.all.map(\.flag)).count == TaskOption.all.count)
        for option in TaskOption.all {
            for name in [option.needs, option.flagNeeds].compactMap(\.self) {
                #expect(TaskOption.named(name) != nil, "\(option.name) needs \(name)")
            }
        }
    }
}
