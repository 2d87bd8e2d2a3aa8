import Foundation
import Testing

@testable import Switchyard

@Suite struct CronExpressionTests {
    private func date(_ text: String) throws -> Date { try Date(text, strategy: .iso8601) }

    private func times(_ cron: String, after start: String, _ count: Int, _ zone: String = "UTC") throws -> [String] {
        let expression = try CronExpression(cron)
        let zone = try TimeZone.named(zone)
        var time = try date(start)
        var found: [String] = []
        while found.count < count, let next = expression.next(after: time, in: zone) {
            found.append(next.formatted(.iso8601))
            time = next
        }
        return found
    }

    @Test(arguments: [
        ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
        ("* * * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:00:31Z"),
        ("*/5 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"),
        ("0 3 * * *", "2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"),
        ("0 3 * JAN Mon", "2026-01-01T00:00:00Z", "2026-01-05T03:00:00Z"),
        ("0 0 * * 0", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("0 0 * * fri-sun", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        // Either the 13th or a Friday, whichever comes first.
        ("0 0 13 * 5", "2026-01-10T00:00:00Z", "2026-01-13T00:00:00Z"),
        ("0 0 13 * 5", "2026-01-13T00:00:00Z", "2026-01-16T00:00:00Z"),
        ("0 0 L * *", "2028-02-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("@monthly", "1969-11-15T00:00:00Z", "1969-12-01T00:00:00Z"),
        ("  0\t3  * * *  ", "2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z"),
    ])
    func theNextTime(cron: String, after start: String, expected: String) throws {
        #expect(try times(cron, after: start, 1) == [expected])
    }

    @Test(arguments: ["0 0 30 2 *", "0 0 31 4,6,9,11 *"])
    func whatNeverComesIsNilAndNoEndlessLoop(cron: String) throws {
        let expression = try CronExpression(cron)
        let berlin = try TimeZone.named("Europe/Berlin")
        #expect(expression.next(after: try date("2026-01-01T00:00:00Z"), in: berlin) == nil)
        #expect(expression.next(after: .distantFuture.addingTimeInterval(1e300), in: berlin) == nil)
    }

    @Test(arguments: [
        ("", "found 0"), ("* * * *", "found 4"), ("* * * * * * *", "found 7"), ("@often", "@often"),
        ("60 * * * *", "minute: expected 0 to 59, found \"60\""),
        ("60 * * * * *", "second: expected 0 to 59"),
        ("0 24 * * *", "hour: expected 0 to 23"),
        ("0 0 0 * *", "day of month: expected 1 to 31, or L"),
        ("0 0 * 13 *", "month: expected 1 to 12, or jan to dec"),
        ("0 0 * * 8", "day of week: expected 0 to 7, or sun to sat"),
        ("0 0 * * funday", "found \"funday\""),
        ("*/0 * * * *", "minute: expected a step from 1 to 59 after /, found \"0\""),
        ("5-1 * * * *", "minute: expected a range from low to high, found \"5-1\""),
        ("1, * * * *", "minute: expected 0 to 59, found \"\""),
        ("-1 * * * *", "minute"), ("+1 * * * *", "minute"), ("1-2-3 * * * *", "minute"), ("*/5/5 * * * *", "minute"),
        ("0 0 L-3 * *", "day of month"), ("99999999999999999999 * * * *", "minute"), ("٣ * * * *", "minute"),
        (String(repeating: "1,", count: 300) + "1 * * * *", "at most 500 characters"),
    ])
    func aBadExpressionIsRefusedByItsField(cron: String, says: String) throws {
        let error = try #require(throws: SchedulerError.self) { _ = try CronExpression(cron) }
        #expect(error.message.hasPrefix("cron: ") && error.message.contains(says), "\(error.message)")
        guard case .invalidInput(field: "cron", _) = error else {
            Issue.record("\(error)")
            return
        }
    }

    @Test(arguments: ["", "Mars/Olympus", "../../etc/passwd", "GMT+5", "europe/berlin", "CEST"])
    func anUnknownTimeZoneIsRefused(name: String) throws {
        let error = try #require(throws: SchedulerError.self) { _ = try TimeZone.named(name) }
        #expect(error.message.contains("zone: expected the IANA name"))
    }

    // MARK: Changes of clocks; more of them are in CronTimesTests

    @Test func atACertainHourATimeThatDoesNotExistFiresAfterTheGap() throws {
        #expect(
            try times("*/20 2 * * *", after: "2026-03-28T12:00:00Z", 2, "Europe/Berlin")
                == ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"])
        // The same from the last second before the gap.
        #expect(
            try times("15 30 2 * * *", after: "2026-03-29T00:59:59Z", 1, "Europe/Berlin") == ["2026-03-29T01:00:00Z"])
    }

    @Test func atACertainHourATimeThatExistsTwiceFiresOnce() throws {
        let once = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        #expect(try times("30 2 * * *", after: "2026-10-24T12:00:00Z", 2, "Europe/Berlin") == once)
        // The same if the search begins within the repeated hour.
        for start in ["2026-10-25T00:30:00Z", "2026-10-25T00:59:59Z", "2026-10-25T01:00:00Z", "2026-10-25T01:10:00Z"] {
            #expect(try times("30 2 * * *", after: start, 1, "Europe/Berlin") == [once[1]], "\(start)")
        }
        // A time after the repeated hour is not part of it.
        #expect(try times("0 3 * * *", after: "2026-10-25T01:10:00Z", 1, "Europe/Berlin") == ["2026-10-25T02:00:00Z"])
    }

    @Test func everyHourGoesByTheTimeThatPasses() throws {
        for day in ["2026-03-28", "2026-10-24"] {
            let start = try date("\(day)T12:00:00Z")
            let found = try times("*/30 * * * *", after: "\(day)T12:00:00Z", 48, "Europe/Berlin")
            #expect(try found.map(date) == (1...48).map { start.addingTimeInterval(Double($0) * 1800) })
        }
    }

    @Test func aDayThatAZoneLeftOutFiresAtTheNextOne() throws {
        // Samoa had no 30 December 2011.
        #expect(
            try times("0 12 * * *", after: "2011-12-29T23:00:00Z", 2, "Pacific/Apia")
                == ["2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"])
    }
}
