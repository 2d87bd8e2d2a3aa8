import Foundation
import Testing

@testable import Switchyard

/// Our times against those of PyPI's croniter, which `cron-times.py` wrote to a file, changes of clocks included.
@Suite struct CronTimesTests {
    private static let table = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "cron-times.tsv")

    @Test func theTimesAreThoseOfCroniter() throws {
        let lines = try String(contentsOf: Self.table, encoding: .utf8).split(separator: "\n")
        #expect(lines.count > 400)
        for line in lines {
            let fields = line.split(separator: "\t").map(String.init)
            let expression = try CronExpression(fields[0])
            let zone = try TimeZone.named(fields[1])
            var time = try date(fields[2])
            for text in fields[3...] {
                let expected = try date(text)
                let found = expression.next(after: time, in: zone)
                #expect(
                    found == expected,
                    "\(fields[0]) in \(fields[1]) after \(time): not \(text)")
                time = expected
            }
        }
    }

    /// Parses a time with an offset, as Python writes it.
    private func date(_ text: String) throws -> Date {
        try Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: false))
    }
}
