import Foundation

/// The times at which a schedule fires: five fields `minute hour day-of-month month day-of-week`, six fields with
/// seconds first, or one of `@hourly @daily @midnight @weekly @monthly @yearly @annually`.
///
/// As in Vixie cron, if both day of month and day of week are restricted, a day that matches either one matches. A
/// field is restricted unless it allows every value. `*/2` is therefore restricted, as in croniter, whose results the
/// tests expect; Vixie cron treats it like `*`.
///
/// **When clocks change**, it matters whether the hour is restricted:
/// - Every hour (`*/10 * * * *`): the schedule follows elapsed time. Wall times that do not exist are skipped, and wall
///   times that exist twice fire twice.
/// - At certain hours (`30 2 * * *`): a wall time that does not exist fires at the first moment after the gap, and only
///   once if several wall times fall into the gap. **A wall time that exists twice fires the first time only**, as in
///   Vixie cron: a nightly job must not run twice in one night. croniter fires twice here.
public struct CronExpression: Sendable, Equatable, CustomStringConvertible {
    /// The expression as it was written.
    public let description: String
    private var seconds = CronSet.zero
    private let minutes, hours, days, months, weekdays: CronSet

    private static let macros = [
        "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
    ]
    /// In bytes. It bounds what is stored and read again at every firing; a longer expression can only repeat itself.
    private static let maxLength = 500

    /// Parses an expression.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``. The message names the field of the expression, what
    ///   was expected and what was found.
    public init(_ text: String) throws(SchedulerError) {
        guard text.utf8.count <= Self.maxLength else {
            throw Self.problem("expected at most \(Self.maxLength) characters, found \(text.utf8.count)")
        }
        description = text
        var fields = text.split { $0 == " " || $0 == "\t" }
        if let word = fields.first, word.hasPrefix("@"), fields.count == 1 {
            guard let meaning = Self.macros[word.lowercased()] else {
                throw Self.problem(
                    "expected @hourly, @daily, @weekly, @monthly or @yearly, found \(Name.shown(String(word)))")
            }
            fields = meaning.split(separator: " ")
        }
        guard fields.count == 5 || fields.count == 6 else {
            throw Self.problem(
                "expected 5 fields (minute hour day-of-month month day-of-week) or 6 with seconds first, found "
                    + "\(fields.count): \(Name.shown(text))")
        }
        if fields.count == 6 { seconds = try CronField.second.parse(fields.removeFirst()) }
        minutes = try CronField.minute.parse(fields[0])
        hours = try CronField.hour.parse(fields[1])
        days = try CronField.dayOfMonth.parse(fields[2])
        months = try CronField.month.parse(fields[3])
        weekdays = try CronField.dayOfWeek.parse(fields[4])
    }

    private static func problem(_ message: String) -> SchedulerError {
        .invalidInput(field: "cron", message: "cron: \(message)")
    }

    /// Returns the first matching time after `date`, a whole second, or nil if there is none (30 February).
    public func next(after date: Date, in zone: TimeZone) -> Date? {
        // Dates beyond the year 33658 are not supported.
        guard abs(date.timeIntervalSince1970) < 1e12 else { return nil }
        let after = Int(date.timeIntervalSince1970.rounded(.down))
        // Each iteration searches a period with one UTC offset. The period begins at `start`; `from` is the first
        // second that may be the result.
        var start = after
        var from = startOfSearch(after: after, in: zone)
        // The bound covers every clock change within `maxDays`.
        for _ in 0..<Self.maxClockChanges {
            let offset = zone.offset(at: start)
            guard let wall = nextWallTime(from: from + offset) else { return nil }
            guard let change = zone.change(after: start), wall - offset >= change else {
                return Date(timeIntervalSince1970: Double(wall - offset))
            }
            let later = zone.offset(at: change)
            // The wall time is in the gap: wall times before change + later do not exist.
            if !hours.isComplete, wall < change + later { return Date(timeIntervalSince1970: Double(change)) }
            start = change
            from = max(from, endOfRepetition(change: change, from: offset, to: later))
        }
        return nil
    }

    /// Morocco changes its clocks four times a year; this covers that for as long as ``maxDays``.
    private static let maxClockChanges = 50

    /// The second after `after`. If `after` is among wall times that are repeated and must not fire again, the end of
    /// the repetition.
    private func startOfSearch(after: Int, in zone: TimeZone) -> Int {
        // No clock was ever set back by more than a day.
        let dayBefore = after - 86_400
        guard let change = zone.change(after: dayBefore), change <= after else { return after + 1 }
        return max(
            after + 1,
            endOfRepetition(change: change, from: zone.offset(at: dayBefore), to: zone.offset(at: change)))
    }

    /// Where the search continues after a clock change: at the change or, if the hour is restricted, after the wall
    /// times that the change repeats.
    private func endOfRepetition(change: Int, from earlier: Int, to later: Int) -> Int {
        hours.isComplete ? change : change + max(0, earlier - later)
    }

    // MARK: Wall times, as seconds since 1970 without a time zone

    /// The longest gap between two matching days is 8 years, between 29 February 2096 and 2104.
    private static let maxDays = 9 * 366

    private func nextWallTime(from wall: Int) -> Int? {
        var (day, second) = wall.dividedDown(by: 86_400)
        for _ in 0..<Self.maxDays {
            if allows(day: day), let found = nextTimeOfDay(from: second) { return day * 86_400 + found }
            day += 1
            second = 0
        }
        return nil
    }

    private func allows(day: Int) -> Bool {
        let date = CivilDate(daysSince1970: day)
        guard months.contains(date.month) else { return false }
        let isDay = days.contains(date.day) || (days.hasLastDay && CivilDate(daysSince1970: day + 1).day == 1)
        // 1970 began on a Thursday.
        let isWeekday = weekdays.contains((day + 4).dividedDown(by: 7).rest)
        if days.isComplete { return isWeekday }
        if weekdays.isComplete { return isDay }
        return isDay || isWeekday
    }

    private func nextTimeOfDay(from second: Int) -> Int? {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60)
        if hours.contains(hour) {
            if minutes.contains(minute), let found = seconds.first(from: second) {
                return hour * 3600 + minute * 60 + found
            }
            if let found = minutes.first(from: minute + 1) { return hour * 3600 + found * 60 + seconds.least }
        }
        return hours.first(from: hour + 1).map { $0 * 3600 + minutes.least * 60 + seconds.least }
    }
}

extension TimeZone {
    /// The zone with this IANA name, such as `Europe/Berlin`, or UTC.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for an unknown name.
    static func named(_ name: String) throws(SchedulerError) -> TimeZone {
        // Foundation also accepts "GMT+5" and gives it another identifier. The sign is ambiguous, so it is refused.
        guard let zone = TimeZone(identifier: name), zone.identifier == name || name == "UTC" else {
            throw .invalidInput(
                field: "zone",
                message: "zone: expected the IANA name of a time zone, such as Europe/Berlin or UTC, found "
                    + Name.shown(name))
        }
        return zone
    }

    /// The offset from UTC at `seconds`, in seconds; positive to the east.
    fileprivate func offset(at seconds: Int) -> Int {
        secondsFromGMT(for: Date(timeIntervalSince1970: Double(seconds)))
    }

    /// When the offset changes next after `seconds`: for daylight saving, or permanently.
    fileprivate func change(after seconds: Int) -> Int? {
        nextDaylightSavingTimeTransition(after: Date(timeIntervalSince1970: Double(seconds))).map {
            Int($0.timeIntervalSince1970.rounded())
        }.flatMap { $0 > seconds ? $0 : nil }
    }
}
