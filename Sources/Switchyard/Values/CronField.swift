/// A field of a cron expression: its name, its range, the names of its values, and the parser of its text.
enum CronField: String {
    case second, minute, hour
    case dayOfMonth = "day of month"
    case month
    case dayOfWeek = "day of week"

    private static let monthNames = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ]
    private static let dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

    var range: ClosedRange<Int> {
        switch self {
        case .second, .minute: 0...59
        case .hour: 0...23
        case .dayOfMonth: 1...31
        case .month: 1...12
        // 0 and 7 are Sunday.
        case .dayOfWeek: 0...7
        }
    }

    private var expected: String {
        let numbers = "\(range.lowerBound) to \(range.upperBound)"
        return switch self {
        case .second, .minute, .hour: numbers
        case .dayOfMonth: "\(numbers), or L for the last day"
        case .month: "\(numbers), or jan to dec"
        case .dayOfWeek: "\(numbers), or sun to sat"
        }
    }

    /// Parses a list of `*`, numbers and ranges, each with an optional step. `5/15` means `5-59/15`, as in croniter.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``. The message names the field, what was expected and
    ///   what was found.
    func parse(_ text: Substring) throws(SchedulerError) -> CronSet {
        var set = CronSet()
        for item in text.split(separator: ",", omittingEmptySubsequences: false) {
            if self == .dayOfMonth, item.lowercased() == "l" {
                set.hasLastDay = true
                continue
            }
            let parts = item.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            let span = try span(parts[0], isStepped: parts.count > 1)
            let step = parts.count > 1 ? try step(parts[1]) : 1
            for value in stride(from: span.lowerBound, through: span.upperBound, by: step) {
                set.insert(self == .dayOfWeek ? value % 7 : value)
            }
        }
        let most = self == .dayOfWeek ? 6 : range.upperBound
        set.isComplete = (range.lowerBound...most).allSatisfy(set.contains)
        return set
    }

    private func span(_ text: Substring, isStepped: Bool) throws(SchedulerError) -> ClosedRange<Int> {
        // 7 would be Sunday again.
        if text == "*" { return self == .dayOfWeek ? 0...6 : range }
        let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        let first = try number(ends[0])
        guard ends.count > 1 else { return isStepped ? first...max(first, lastOfStep) : first...first }
        var last = try number(ends[1])
        // fri-sun
        if self == .dayOfWeek, last == 0, first > 0 { last = 7 }
        guard first <= last else {
            throw problem("a range from low to high", found: text)
        }
        return first...last
    }

    private var lastOfStep: Int { self == .dayOfWeek ? 6 : range.upperBound }

    private func number(_ text: Substring) throws(SchedulerError) -> Int {
        let names: (words: [String], first: Int) =
            switch self {
            case .month: (Self.monthNames, 1)
            case .dayOfWeek: (Self.dayNames, 0)
            default: ([], 0)
            }
        if let index = names.words.firstIndex(of: text.lowercased()) { return index + names.first }
        guard let number = Self.digits(text), range.contains(number) else { throw problem(expected, found: text) }
        return number
    }

    private func step(_ text: Substring) throws(SchedulerError) -> Int {
        guard let step = Self.digits(text), (1...range.upperBound).contains(step) else {
            throw problem("a step from 1 to \(range.upperBound) after /", found: text)
        }
        return step
    }

    /// Accepts digits only: `Int` would also accept a sign.
    private static func digits(_ text: Substring) -> Int? {
        (1...4).contains(text.utf8.count) && text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(text) : nil
    }

    private func problem(_ expected: String, found: Substring) -> SchedulerError {
        .invalidInput(
            field: "cron", message: "cron: \(rawValue): expected \(expected), found \(Name.shown(String(found)))")
    }
}

/// The numbers from 0 to 59 that a field allows.
struct CronSet: Sendable, Equatable {
    private var bits: UInt64 = 0
    /// True if the field allows every value of its range, and therefore restricts nothing.
    var isComplete = false
    /// `L`: the last day of the month.
    var hasLastDay = false

    static let zero = CronSet(only: 0)

    init() {}
    private init(only number: Int) { insert(number) }

    mutating func insert(_ number: Int) { bits |= 1 << UInt64(number) }
    func contains(_ number: Int) -> Bool { bits & (1 << UInt64(number)) != 0 }

    /// Returns the smallest allowed number that is at least `number`, or nil.
    func first(from number: Int) -> Int? {
        guard number < 64 else { return nil }
        let rest = bits >> UInt64(number)
        return rest == 0 ? nil : number + rest.trailingZeroBitCount
    }

    /// The smallest allowed number.
    var least: Int { first(from: 0) ?? 0 }
}
