/// Reads JSON (RFC 8259) from untrusted bytes.
///
/// Foundation's readers are not used, because they convert large integers to doubles and do not specify how they treat
/// deep nesting. This reader keeps each number's digits, limits the depth, and accepts exactly the grammar: no NaN, no
/// comments, no trailing commas, no invalid UTF-8, no escaped lone surrogates. It also refuses a number that is too
/// large for a double (`1e999`): the grammar allows it, but many readers fail on it.
package struct JSONReader {
    package struct Failure: Error {
        /// Says what was expected and what was found.
        package var message: String
        /// Counted from 1.
        package var line: Int
        /// Offset in the input, counted from 0.
        package var byte: Int

        package init(message: String, line: Int, byte: Int) {
            self.message = message
            self.line = line
            self.byte = byte
        }
    }

    /// Limit on nesting: each level costs stack, here and in every later reader of the payload.
    package static let maxDepth = 128

    /// Limit on the values of one text. A value costs up to 100 bytes of memory, but as little as two bytes of text.
    package static let maxValues = 1_000_000

    private let bytes: [UInt8]
    private let maxDepth: Int
    private let maxValues: Int
    private var index = 0
    private var values = 0

    /// Whether the text is a JSON value.
    package static func isValid(_ text: String) -> Bool {
        // A failure means no.
        (try? read(Array(text.utf8))) != nil
    }

    /// - Throws: ``Failure``.
    package static func read(
        _ bytes: [UInt8], maxDepth: Int = maxDepth, maxValues: Int = maxValues
    ) throws(Failure) -> JSONValue {
        var reader = JSONReader(bytes: bytes, maxDepth: maxDepth, maxValues: maxValues)
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.index == bytes.count else { throw reader.failure("nothing after the value") }
        return value
    }

    private init(bytes: [UInt8], maxDepth: Int, maxValues: Int) {
        self.bytes = bytes
        self.maxDepth = maxDepth
        self.maxValues = maxValues
    }

    private var current: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func value(depth: Int) throws(Failure) -> JSONValue {
        skipSpace()
        values += 1
        guard values <= maxValues else {
            throw Failure(message: "more than \(maxValues) values", line: line, byte: index)
        }
        switch current {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case .some(UInt8(ascii: "-")), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return .number(try number())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: throw failure("a JSON value")
        }
    }

    private mutating func object(depth: Int) throws(Failure) -> JSONValue {
        try enter(depth)
        var members: [JSONValue.Member] = []
        skipSpace()
        if take("}") { return .object(members) }
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw failure("a name in quotation marks") }
            let name = try string()
            skipSpace()
            guard take(":") else { throw failure("a colon") }
            members.append(JSONValue.Member(name: name, value: try value(depth: depth)))
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw failure("a comma or }") }
        }
    }

    private mutating func array(depth: Int) throws(Failure) -> JSONValue {
        try enter(depth)
        var values: [JSONValue] = []
        skipSpace()
        if take("]") { return .array(values) }
        while true {
            values.append(try value(depth: depth))
            skipSpace()
            if take("]") { return .array(values) }
            guard take(",") else { throw failure("a comma or ]") }
        }
    }

    private mutating func enter(_ depth: Int) throws(Failure) {
        guard depth <= maxDepth else {
            throw Failure(message: "nested deeper than \(maxDepth) levels", line: line, byte: index)
        }
        index += 1
    }

    private mutating func word(_ text: String, _ value: JSONValue) throws(Failure) -> JSONValue {
        let end = index + text.utf8.count
        guard end <= bytes.count, bytes[index..<end].elementsEqual(text.utf8) else { throw failure("a JSON value") }
        index = end
        return value
    }

    // MARK: Numbers

    /// Reads `-`? (0 | 1-9 digits) (. digits)? (e ±? digits)?, and returns its text.
    private mutating func number() throws(Failure) -> String {
        let start = index
        _ = take("-")
        if !take("0") { try digits() }
        if take(".") { try digits() }
        var hasExponent = false
        if take("e") || take("E") {
            hasExponent = true
            if !take("+") { _ = take("-") }
            try digits()
        }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        // Without an exponent it takes 309 digits to be too large.
        if hasExponent || text.utf8.count > 308, Double(text)?.isFinite != true {
            index = start
            throw Failure(message: "a number is too large for a double (1.8e308)", line: line, byte: start)
        }
        return text
    }

    private mutating func digits() throws(Failure) {
        let start = index
        while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { index += 1 }
        guard index > start else { throw failure("a digit") }
    }

    // MARK: Strings

    private mutating func string() throws(Failure) -> String {
        index += 1
        let start = index
        var text: [UInt8] = []
        var copied = start
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                // Fast path: a string without escapes is decoded directly from the input.
                let string: String?
                if copied == start {
                    string = String(validating: bytes[start..<index], as: UTF8.self)
                } else {
                    text += bytes[copied..<index]
                    string = String(validating: text, as: UTF8.self)
                }
                index += 1
                guard let string else {
                    index = start
                    throw Failure(message: "a text is not UTF-8", line: line, byte: start)
                }
                return string
            case UInt8(ascii: "\\"):
                text += bytes[copied..<index]
                text += try escape()
                copied = index
            case 0..<0x20:
                throw failure("an escape for the control character")
            default:
                index += 1
            }
        }
        throw failure("the end of a text")
    }

    private mutating func escape() throws(Failure) -> [UInt8] {
        index += 1
        guard let kind = current else { throw failure("the rest of an escape") }
        if let byte = Self.simpleEscape(kind) {
            index += 1
            return [byte]
        }
        guard kind == UInt8(ascii: "u") else { throw failure("an escape that JSON knows") }
        index += 1
        let first = try unit()
        guard (0xD800...0xDBFF).contains(first) else { return try utf8(of: first) }
        guard take("\\"), take("u") else { throw failure("the second half of a \\u escape") }
        let second = try unit()
        guard (0xDC00...0xDFFF).contains(second) else { throw failure("the second half of a \\u escape") }
        return try utf8(of: 0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
    }

    private static func simpleEscape(_ kind: UInt8) -> UInt8? {
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): kind
        case UInt8(ascii: "b"): 8
        case UInt8(ascii: "f"): 12
        case UInt8(ascii: "n"): 10
        case UInt8(ascii: "r"): 13
        case UInt8(ascii: "t"): 9
        default: nil
        }
    }

    private mutating func unit() throws(Failure) -> UInt32 {
        guard index + 4 <= bytes.count,
            bytes[index..<index + 4].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let unit = UInt32(String(decoding: bytes[index..<index + 4], as: UTF8.self), radix: 16)
        else { throw failure("four hexadecimal digits") }
        index += 4
        return unit
    }

    private func utf8(of code: UInt32) throws(Failure) -> [UInt8] {
        guard let scalar = Unicode.Scalar(code) else { throw failure("a \\u escape that stands for a character") }
        return Array(String(scalar).utf8)
    }

    // MARK: Parts

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard current == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { index += 1 }
    }

    private var line: Int { bytes[..<min(index, bytes.count)].reduce(1) { $0 + ($1 == 0x0A ? 1 : 0) } }

    private func failure(_ expected: String) -> Failure {
        let found =
            switch current {
            case nil: "the end"
            case .some(let byte) where byte > 0x20 && byte < 0x7F: "\"\(Character(Unicode.Scalar(byte)))\""
            case .some(let byte): "byte \(byte)"
            }
        return Failure(message: "expected \(expected), found \(found)", line: line, byte: index)
    }
}
