import Foundation
import Testing

@testable import SwitchyardHTTP

@Suite struct RFC3339Tests {
    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0.0), ("2024-02-29T23:59:59.25Z", 1_709_251_199.25),
        ("2026-01-31t12:00:00+02:00", 1_769_853_600), ("2000-03-01 00:00:00-00:30", 951_870_600),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ])
    func timesAreRead(text: String, seconds: Double) {
        #expect(RFC3339.date(text) == Date(timeIntervalSince1970: seconds))
    }

    @Test(arguments: [
        "", "2026", "2026-01-01", "2026-01-01T00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
        "2025-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+2:00",
        "2026-01-01T00:00:00Zx", "+026-01-01T00:00:00Z",
    ])
    func whatIsNoTimeIsRefused(text: String) {
        #expect(RFC3339.date(text) == nil)
    }

    @Test func timesAreWrittenAsFoundationWritesThem() {
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<500 {
            let milliseconds = Int.random(in: 0...100_000_000_000_000, using: &generator)
            let date = Date(timeIntervalSince1970: Double(milliseconds) / 1000)
            #expect(RFC3339.date(RFC3339.text(date)) == date)
            let whole = Date(timeIntervalSince1970: Double(milliseconds / 1000))
            #expect(RFC3339.text(whole) == whole.formatted(style))
        }
    }
}
