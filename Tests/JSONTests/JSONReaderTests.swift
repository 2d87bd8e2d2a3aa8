import JSON
import Testing

@Suite struct JSONReaderTests {
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

    @Test(arguments: ["1e999", "-1e309", "1E+9999", "[1e400]", #"{"a":{"b":1e308,"c":1e310}}"#])
    func aNumberThatNoDoubleHoldsIsRefused(text: String) {
        let failure = #expect(throws: JSONReader.Failure.self) { try JSONReader.read(Array(text.utf8)) }
        #expect(failure?.message.contains("too large for a double") == true)
    }

    @Test func digitsCountToo() throws {
        let largest = "1" + String(repeating: "0", count: 308)
        #expect(try JSONReader.read(Array(largest.utf8)) == .number(largest))
        #expect(throws: JSONReader.Failure.self) { try JSONReader.read(Array((largest + "0").utf8)) }
        // It is 0 as a double, which is finite.
        #expect(try JSONReader.read(Array("1e-999".utf8)) == .number("1e-999"))
        let long = "0." + String(repeating: "1", count: 1000)
        #expect(try JSONReader.read(Array(long.utf8)) == .number(long))
    }

    @Test func valuesAreBounded() throws {
        for text in ["[0,0,0]", "[[],{}, 1]", #"{"a":{"b":[1]}}"#] {
            #expect(throws: Never.self) { try JSONReader.read(Array(text.utf8), maxValues: 4) }
            #expect(throws: JSONReader.Failure.self) { try JSONReader.read(Array(text.utf8), maxValues: 3) }
        }
    }
}
