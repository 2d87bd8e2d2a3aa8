import ArgumentParser

/// A duration as an argument: a number of seconds, or a number with a unit (`90`, `1.5`, `500ms`, `5m`, `2h`, `1d`).
struct Seconds: ExpressibleByArgument, Sendable, Equatable {
    var value: Double

    init(value: Double) { self.value = value }

    init?(argument: String) {
        let units: [(suffix: String, factor: Double)] = [
            ("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400),
        ]
        let unit = units.first { argument.hasSuffix($0.suffix) }
        let digits = argument.dropLast(unit?.suffix.count ?? 0)
        // Double(…) also accepts "nan", "inf" and hexadecimal.
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") }),
            let number = Double(digits)
        else { return nil }
        value = number * (unit?.factor ?? 1)
    }

    var defaultValueDescription: String { JSONValue.number(value).text }

    /// The number of seconds as JSON.
    var json: String { value == value.rounded() && value < 1e15 ? "\(Int(value))" : "\(value)" }
}
