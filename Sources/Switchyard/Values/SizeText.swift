import Foundation

/// Sizes of memory as text: a number of MiB (`512`), or a number with a unit (`512M`, `1.5G`, `2T`). The units are
/// binary, as Redis's `mb` and `gb` are: 1G (also 1GB, 1GiB and 1g) is 1024 MiB.
public enum SizeText {
    /// Reads a size of whole MiB.
    public static func mebibytes(_ text: String) throws(TextRefusal) -> Int {
        var digits = text.lowercased()[...]
        var factor = Decimal(1)
        for (unit, mebibytes) in [("k", 1 / Decimal(1024)), ("m", 1), ("g", 1024), ("t", 1_048_576)] {
            guard let suffix = [unit + "ib", unit + "b", unit].first(where: digits.hasSuffix) else { continue }
            digits = digits.dropLast(suffix.count)
            factor = mebibytes
            break
        }
        guard let number = DurationText.decimal(digits) else {
            throw TextRefusal(expected: "a size such as 512 (MiB), 512M, 1.5G or 2T")
        }
        let size = number * factor
        guard size <= Decimal(Resources.megabytes.upperBound) else {
            throw TextRefusal(expected: "at most \(Resources.megabytes.upperBound) MiB")
        }
        let whole = NSDecimalNumber(decimal: size).intValue
        guard Decimal(whole) == size else { throw TextRefusal(expected: "whole MiB") }
        return whole
    }
}
