/// The rules for a queue's name and for the id of a task, worker, batch or schedule: 1 to 200 characters of
/// `A-Z a-z 0-9 . _ : -`, so that it is safe inside a key, a URL and a log line.
public enum Name {
    /// Returns `name` if it is valid.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``. The message names `field` and shows what was found.
    public static func validate(_ name: String, field: String) throws(SchedulerError) -> String {
        guard (1...200).contains(name.utf8.count), name.utf8.allSatisfy(isAllowed) else {
            let found = name.utf8.count > 200 ? "\(name.utf8.count) characters" : shown(name)
            throw .invalidInput(
                field: field,
                message: "\(field): expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found \(found)")
        }
        return name
    }

    /// Whether a name may contain this byte.
    package static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: ":"),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// Returns an invalid value in the form in which a message may show it: quoted, printable, at most 40 characters.
    public static func shown(_ value: String) -> String {
        let printable = value.unicodeScalars.prefix(40).map { scalar in
            scalar.value >= 0x20 && scalar.value < 0x7F ? String(scalar) : "?"
        }
        return "\"\(printable.joined())\"" + (value.unicodeScalars.count > 40 ? "…" : "")
    }
}
