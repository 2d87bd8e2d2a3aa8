import Foundation
import JSON
import Testing

@Suite struct JSONWriterTests {
    @Test(arguments: [
        [], [""], ["a", "b/c"], ["\"quoted\" \\ and \n \r \t \u{8} \u{c} \u{1} \u{1f} \u{7f}", "größer 🚂 \u{2028}"],
        ["\r\n", "e\u{301}", "\0"],
    ])
    func textsAreWrittenAsFoundationWritesThem(texts: [String]) throws {
        let value = JSONValue(texts)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        #expect(try encoder.encode(texts) == Data(value.bytes))
        #expect(try JSONReader.read(value.bytes) == value)
    }

    @Test func anObjectOfTextsIsSortedByItsNames() {
        #expect(JSONValue(sorted: ["b": "2", "a\"": "1", "": "/"]).text == #"{"":"/","a\"":"1","b":"2"}"#)
        #expect(JSONValue(sorted: [String: String]()).text == "{}")
    }

    @Test func membersKeepTheirOrderAndRawTextItsBytes() {
        var value: JSONValue = ["b": JSONValue(1.5), "a": .null]
        value.add("absent", nil)
        value.add("raw", .raw(#"{"big":12345678901234567890,  "u":"\u00e9"}"#))
        #expect(value.text == #"{"b":1.5,"a":null,"raw":{"big":12345678901234567890,  "u":"\u00e9"}}"#)
    }

    @Test func theCanonicalFormIgnoresTheOrderOfMembers() throws {
        let one = try JSONReader.read(Array(#"{"b":{"y":1,"x":2},"a":1,"a":3}"#.utf8))
        let two = try JSONReader.read(Array(#"{"a":3,"b":{"x":2,"y":1}}"#.utf8))
        #expect(one.canonical == two.canonical)
    }

    @Test(arguments: [
        (30.0, "30"), (0.25, "0.25"), (-0.5, "-0.5"), (1e20, "1e+20"), (4e-5, "4e-05"), (.infinity, "null"),
        (.nan, "null"), (9_007_199_254_740_993, "9007199254740992"),
    ])
    func aDoubleIsWrittenAsFoundationWritesIt(number: Double, expected: String) throws {
        #expect(JSONValue(number).text == expected)
        if number.isFinite { #expect(String(decoding: try JSONEncoder().encode(number), as: UTF8.self) == expected) }
    }
}
