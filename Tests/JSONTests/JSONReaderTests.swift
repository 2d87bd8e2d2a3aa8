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
}
