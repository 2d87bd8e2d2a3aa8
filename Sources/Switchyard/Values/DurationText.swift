import Foundation

/// Why a text is refused as a duration or as a size. The caller adds the name of the value and what was found.
public struct TextRefusal: Error, Equatable {
    /// What was expected, such as `whole milliseconds`.
    public let expected: String

    /// A refusal with what was expected.
    public init(expected: String) { self.expected = expected }
}

/// Durations as text: a number of seconds (`90`, `1.5`), or a number with a unit (`500ms`, `1.5s`, `5m`, `2h`, `1d`).
public enum DurationText {
    /// The unit of a number that has none.
    public enum PlainUnit: Sendable {
        /// Milliseconds.
        case milliseconds
        /// Seconds.
        case seconds
    }

    /// The longest duration, about 100 years. Sums and products of durations up to it do not overflow.
    public static let maximum: Duration = .seconds(36_500 * 86_400)

    /// The units in milliseconds. Of two suffixes that fit, the first counts.
    private static let units: [(suffix: String, milliseconds: Int)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    /// Reads a duration of whole milliseconds.
    public static func duration(
        _ text: String, plain: PlainUnit = .seconds
    ) throws(TextRefusal) -> Duration {
        let unit = units.first { text.hasSuffix($0.suffix) }
        let digits = text.dropLast(unit?.suffix.count ?? 0)
        guard let number = decimal(digits) else {
            throw TextRefusal(
                expected: plain == .seconds
                    ? "a duration such as 90 (seconds), 1.5s, 500ms, 5m, 2h or 1d"
                    : "a duration such as 500 (milliseconds), 500ms or 1.5s")
        }
        return try duration(milliseconds: number * Decimal(unit?.milliseconds ?? (plain == .seconds ? 1000 : 1)))
    }

    /// Makes a duration from a number of seconds or milliseconds.
    public static func duration(_ number: Double, plain: PlainUnit = .seconds) throws(TextRefusal) -> Duration {
        guard number.isFinite, number >= 0 else { throw TextRefusal(expected: "a duration of 0 or more") }
        // The description has the decimal digits of the source: 0.1 is 0.1, not its binary approximation.
        guard let decimal = Decimal(string: "\(number)", locale: nil) else {
            throw TextRefusal(expected: "a duration of 0 or more")
        }
        return try duration(milliseconds: decimal * (plain == .seconds ? 1000 : 1))
    }

    private static func duration(milliseconds: Decimal) throws(TextRefusal) -> Duration {
        guard milliseconds <= Decimal(maximum.milliseconds) else {
            throw TextRefusal(expected: "at most \(text(maximum))")
        }
        let whole = NSDecimalNumber(decimal: milliseconds).intValue
        guard Decimal(whole) == milliseconds else { throw TextRefusal(expected: "whole milliseconds") }
        return .milliseconds(whole)
    }

    /// Digits with at most one point. `Decimal(string:)` alone would ignore what follows a number.
    static func decimal(_ text: Substring) -> Decimal? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, text.utf8.contains(where: { $0 != UInt8(ascii: ".") }), text.utf8.count <= 30,
            parts.allSatisfy({ $0.utf8.allSatisfy { (0x30...0x39).contains($0) } })
        else { return nil }
        return Decimal(string: String(text), locale: nil)
    }

    /// The duration with the largest unit of which it is a whole number: `2h`, `90s`, `1500ms`. Zero is `0s`.
    public static func text(_ duration: Duration) -> String {
        let milliseconds = duration.milliseconds
        guard milliseconds != 0 else { return "0s" }
        let unit = units.last { milliseconds.isMultiple(of: $0.milliseconds) } ?? units[0]
        return "\(milliseconds / unit.milliseconds)\(unit.suffix)"
    }
}
