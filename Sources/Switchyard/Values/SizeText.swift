import Foundation

/// Sizes as text: a number of MiB (`512`), or a number with a unit (`512M`, `1.5G`, `2T`, `100B`). The units are
/// binary, as Redis's `mb` and `gb` are: 1G (also 1GB, 1GiB and 1g) is 1024 MiB.
public enum SizeText {
    /// The units, the largest first, with their bytes.
    private static let units: [(name: String, bytes: Int)] = [
        ("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10),
    ]

    /// Reads a size of memory, in whole MiB.
    public static func mebibytes(_ text: String) throws(TextRefusal) -> Int {
        let size = try amount(text, of: "a size such as 512 (MiB), 512M, 1.5G or 2T") / Decimal(1 << 20)
        guard size <= Decimal(Resources.megabytes.upperBound) else {
            throw TextRefusal(expected: "at most \(Resources.megabytes.upperBound) MiB")
        }
        let whole = NSDecimalNumber(decimal: size).intValue
        guard Decimal(whole) == size else { throw TextRefusal(expected: "whole MiB") }
        return whole
    }

    /// Reads a size in bytes.
    /// - Parameter isPlainBytes: whether a number without a unit is in bytes, not in MiB.
    public static func bytes(_ text: String, isPlainBytes: Bool = false) throws(TextRefusal) -> Int {
        let plain = isPlainBytes ? "1048576 (bytes)" : "512 (MiB)"
        let size = try amount(text, of: "a size such as \(plain), 512M, 1.5G or 2T", plain: isPlainBytes ? 1 : 1 << 20)
        guard size <= Decimal(1 << 53) else { throw TextRefusal(expected: "at most 8192T") }
        let whole = NSDecimalNumber(decimal: size).intValue
        guard Decimal(whole) == size else { throw TextRefusal(expected: "whole bytes") }
        return whole
    }

    /// Returns the text of a size, in the largest unit of which it is a whole number.
    public static func text(bytes: Int) -> String {
        guard bytes != 0 else { return "0" }
        guard let unit = units.first(where: { bytes % $0.bytes == 0 }) else { return "\(bytes)B" }
        return "\(bytes / unit.bytes)\(unit.name.uppercased())"
    }

    /// Reads a size as bytes, which need not be whole.
    private static func amount(
        _ text: String, of expected: String, plain: Int = 1 << 20
    ) throws(TextRefusal) -> Decimal {
        var digits = text.lowercased()[...]
        var factor = plain
        for (unit, bytes) in units {
            guard let suffix = [unit + "ib", unit + "b", unit].first(where: digits.hasSuffix) else { continue }
            digits = digits.dropLast(suffix.count)
            factor = bytes
            break
        }
        if factor == plain, digits.hasSuffix("b") {
            digits = digits.dropLast()
            factor = 1
        }
        guard let number = DurationText.decimal(digits) else { throw TextRefusal(expected: expected) }
        return number * Decimal(factor)
    }
}
