import Foundation
import Testing

@testable import SwitchyardHTTP

@Suite struct JSONTests {
    @Test(arguments: [
        #"{"a":[1,-0,1.50,1e3,123456789012345678901234567890],"b":"ä€😀","a":null}"#, "[]", "{}", "null", "true",
        #""\"\\\n\t\u0001""#, "-12.5E-7", #"[[[]],{"":{}}]"#,
    ])
    func whatIsReadIsWrittenAgain(text: String) throws {
        #expect(try JSONReader.read(Array(text.utf8)).text == text)
    }

    @Test func escapesBecomeCharacters() throws {
        let value = try JSONReader.read(Array(#" "\ud83d\ude00\u00e4\/\b\f" "#.utf8))
        #expect(value == .string("😀ä/\u{8}\u{c}"))
    }

    @Test func nestingIsBounded() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array(String(repeating: "[", count: depth).utf8) + Array(String(repeating: "]", count: depth).utf8)
        }
        #expect(throws: Never.self) { try JSONReader.read(nested(JSONReader.maxDepth)) }
        for depth in [JSONReader.maxDepth + 1, 2000, 100_000, 1_000_000] {
            #expect(throws: JSONReader.Failure.self) { try JSONReader.read(nested(depth)) }
        }
    }

    @Test func aFailureSaysWhere() throws {
        let failure = #expect(throws: JSONReader.Failure.self) {
            try JSONReader.read(Array("{\n  \"a\": x}".utf8))
        }
        #expect(failure?.message == "expected a JSON value, found \"x\"")
        #expect(failure?.line == 2)
        #expect(failure?.byte == 9)
    }

    @Test func theCanonicalFormIgnoresTheOrderOfMembers() throws {
        let one = try JSONReader.read(Array(#"{"b":{"y":1,"x":2},"a":1,"a":3}"#.utf8))
        let two = try JSONReader.read(Array(#"{"a":3,"b":{"x":2,"y":1}}"#.utf8))
        #expect(one.canonical == two.canonical)
    }

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
            let milliseconds = Int.random(in: 0...253_402_300_799_000, using: &generator)
            let date = Date(timeIntervalSince1970: Double(milliseconds) / 1000)
            #expect(RFC3339.date(RFC3339.text(date)) == date)
            let whole = Date(timeIntervalSince1970: Double(milliseconds / 1000))
            #expect(RFC3339.text(whole) == whole.formatted(style))
        }
    }
}
