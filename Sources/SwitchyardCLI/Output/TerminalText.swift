import Synchronization

/// Makes text that others wrote safe to print: control characters, and characters that change the direction of text,
/// could move the cursor, forge lines, or hide a part. It looks at scalars, not at characters: `\r\n` is one character,
/// and a combining mark joins the character before it.
enum TerminalText {
    /// The text as one line. Line ends and tabs become spaces, other unsafe scalars "?".
    static func line(_ text: String) -> String { safe(text) { $0 == "\n" || $0 == "\r" || $0 == "\t" ? " " : "?" } }

    /// The text with its line feeds. Other unsafe scalars become "?".
    static func lines(_ text: String) -> String { safe(text) { $0 == "\n" ? "\n" : "?" } }

    /// JSON of the same meaning. Unsafe scalars can be only in its strings, or between its tokens as white space.
    static func json(_ text: String) -> String {
        safe(text) { scalar in
            if scalar == "\n" || scalar == "\r" || scalar == "\t" { return String(scalar) }
            let digits = String(scalar.value, radix: 16)
            return "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        }
    }

    private static func safe(_ text: String, _ replacement: (Unicode.Scalar) -> String) -> String {
        guard text.unicodeScalars.contains(where: isUnsafe) else { return text }
        return text.unicodeScalars.reduce(into: "") { safe, scalar in
            if isUnsafe(scalar) { safe += replacement(scalar) } else { safe.unicodeScalars.append(scalar) }
        }
    }

    /// Whether a terminal may act on the scalar instead of showing it. All of them are below U+10000.
    static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7F }
        return scalar.properties.generalCategory == .control || scalar == "\u{2028}" || scalar == "\u{2029}"
            || scalar.properties.isBidiControl
    }
}

/// Filters what a task wrote for a terminal. Colours and styles (`ESC [ … m`), line ends, tabs and backspaces pass;
/// other control characters and sequences are dropped: they move the cursor, change the title, or reach the clipboard.
///
/// It takes bytes in pieces of any size, for sequences span pieces.
struct TerminalFilter: Sendable {
    private enum State {
        case text
        /// After ESC.
        case escape
        /// In a control sequence (`ESC [`), with its bytes so far.
        case control([UInt8])
        /// After an ESC and intermediate bytes, as in `ESC ( B`.
        case intermediate
        /// In a string that ends with BEL or `ESC \`: a title, a link, the clipboard.
        case string
        case stringEscape
    }

    private static let longestControl = 64
    private var state = State.text
    /// The continuation bytes that the current UTF-8 character still has.
    private var expected = 0
    /// 0xC2 came, of which the next byte decides: it may begin a C1 control character.
    private var isHolding = false

    mutating func filter(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        var passed: [UInt8] = []
        for byte in bytes { take(byte, &passed) }
        return passed
    }

    private mutating func take(_ byte: UInt8, _ passed: inout [UInt8]) {
        switch state {
        case .text: takeText(byte, &passed)
        case .escape:
            switch byte {
            case UInt8(ascii: "["): state = .control([])
            case UInt8(ascii: "]"), UInt8(ascii: "P"), UInt8(ascii: "X"), UInt8(ascii: "^"), UInt8(ascii: "_"):
                state = .string
            case 0x20...0x2F: state = .intermediate
            case 0x1B: break
            default: state = .text
            }
        case .intermediate:
            if !(0x20...0x2F).contains(byte) { state = .text }
        case .control(var sequence):
            guard (0x20...0x3F).contains(byte), sequence.count < Self.longestControl else {
                state = byte == 0x1B ? .escape : .text
                let isColour = sequence.allSatisfy { (0x30...0x3B).contains($0) }
                if byte == UInt8(ascii: "m"), isColour { passed += [0x1B, 0x5B] + sequence + [byte] }
                return
            }
            sequence.append(byte)
            state = .control(sequence)
        case .string:
            if byte == 0x07 { state = .text } else if byte == 0x1B { state = .stringEscape }
        case .stringEscape:
            state = byte == UInt8(ascii: "\\") ? .text : byte == 0x1B ? .stringEscape : .string
        }
    }

    private mutating func takeText(_ byte: UInt8, _ passed: inout [UInt8]) {
        if isHolding {
            isHolding = false
            if (0x80...0x9F).contains(byte) { return takeC1(byte) }
            passed.append(0xC2)
            expected = 1
        }
        switch byte {
        case 0x1B: (state, expected) = (.escape, 0)
        case 0x08, 0x09, 0x0A, 0x0D, 0x20...0x7E:
            expected = 0
            passed.append(byte)
        case 0x80...0xBF:
            // Not part of a character, a terminal of 8 bits takes it as a control character.
            guard expected > 0 else { return takeC1(byte) }
            expected -= 1
            passed.append(byte)
        case 0xC2: isHolding = true
        case 0xC3...0xF4:
            expected = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1
            passed.append(byte)
        default: expected = 0
        }
    }

    /// The C1 control characters are the sequences `ESC @` to `ESC _`.
    private mutating func takeC1(_ byte: UInt8) {
        guard (0x80...0x9F).contains(byte) else { return }
        state = .escape
        var none: [UInt8] = []
        take(byte - 0x40, &none)
    }
}

/// An output of the command that passes through a ``TerminalFilter`` if it is a terminal, and unchanged otherwise.
final class FilteredOutput: Sendable {
    static let out = FilteredOutput(.out)
    static let error = FilteredOutput(.error)

    private let console: Console
    private let filter = Mutex(TerminalFilter())

    init(_ console: Console) { self.console = console }

    func write(_ bytes: [UInt8]) throws(Failure) {
        try console.write(bytes: console.isTerminal ? filter.withLock { $0.filter(bytes) } : bytes)
    }
}
