/// Writes lists and maps of strings as JSON that is easy to read in `redis-cli`: sorted names, unescaped slashes.
enum JSONText {
    static func list(_ texts: [String]) -> String {
        var json = "["
        for (index, text) in texts.enumerated() {
            if index > 0 { json += "," }
            write(text, to: &json)
        }
        return json + "]"
    }

    static func object(_ texts: [String: String]) -> String {
        var json = "{"
        for (index, entry) in texts.sorted(by: { $0.key < $1.key }).enumerated() {
            if index > 0 { json += "," }
            write(entry.key, to: &json)
            json += ":"
            write(entry.value, to: &json)
        }
        return json + "}"
    }

    private static func write(_ text: String, to json: inout String) {
        json += "\""
        if text.utf8.contains(where: needsEscape) {
            for scalar in text.unicodeScalars { json += escaped(scalar) }
        } else {
            json += text
        }
        json += "\""
    }

    private static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\"": return "\\\""
        case "\\": return "\\\\"
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        case "\u{8}": return "\\b"
        case "\u{c}": return "\\f"
        case "\0"..<" ":
            let digits = String(scalar.value, radix: 16)
            return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: return String(scalar)
        }
    }
}
