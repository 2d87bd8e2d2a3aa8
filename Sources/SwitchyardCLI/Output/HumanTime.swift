import Foundation

/// Formats durations for people, and parses the times of the HTTP interface (RFC 3339, UTC).
enum HumanTime {
    /// Formats a duration with at most two units: `850ms`, `4.2s`, `3m 20s`, `2h 5m`, `3d 4h`.
    static func duration(_ seconds: Double) -> String {
        guard seconds.isFinite else { return "?" }
        if seconds < 0 { return "0s" }
        if seconds < 0.9995 { return "\(Int((seconds * 1000).rounded()))ms" }
        if seconds < 59.95 {
            let tenths = Int((seconds * 10).rounded())
            return tenths % 10 == 0 ? "\(tenths / 10)s" : "\(tenths / 10).\(tenths % 10)s"
        }
        guard seconds < 86_400 * 36_500 else { return "over 100 years" }
        let whole = Int(seconds.rounded())
        let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")]
        let first = units.firstIndex { whole >= $0.0 } ?? 3
        let (size, name) = units[first]
        let rest = first + 1 < units.count ? (whole % size) / units[first + 1].0 : 0
        return "\(whole / size)\(name)" + (rest > 0 ? " \(rest)\(units[first + 1].1)" : "")
    }

    static func age(since date: Date?, now: Date = Date()) -> String? {
        date.map { duration(now.timeIntervalSince($0)) }
    }

    /// Parses an RFC 3339 time, with or without a fraction of a second.
    static func parse(_ text: String) -> Date? {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        if let date = formatter.date(from: text) { return date }
        formatter.formatOptions = [.withInternetDateTime]
        return formatter.date(from: text)
    }
}
