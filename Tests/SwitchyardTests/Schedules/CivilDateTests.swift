import Foundation
import Testing

@testable import Switchyard

@Suite struct CivilDateTests {
    /// Every day of eras before and after 1970, so that each kind of year occurs. Foundation has the Julian calendar
    /// before 1582.
    @Test func theCalendarIsThatOfFoundation() throws {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = try TimeZone.named("UTC")
        for day in -146_097..<2 * 146_097 {
            let date = CivilDate(daysSince1970: day)
            #expect(date.daysSince1970 == day)
            #expect(CivilDate(year: date.year, month: date.month, day: date.day) == date)
            if day % 97 == 0, date.year > 1582 {
                let parts = calendar.dateComponents(
                    [.year, .month, .day], from: Date(timeIntervalSince1970: Double(day) * 86_400))
                #expect([parts.year, parts.month, parts.day] == [date.year, date.month, date.day])
            }
        }
    }

    @Test(arguments: [
        (2025, 2, 29), (1900, 2, 29), (2026, 4, 31), (2026, 0, 1), (2026, 13, 1), (2026, 1, 0), (2026, 1, 32),
        (2026, 12, -1),
    ])
    func aDayThatIsNotInTheCalendarIsNil(year: Int, month: Int, day: Int) {
        #expect(CivilDate(year: year, month: month, day: day) == nil)
    }

    @Test(arguments: [(2000, 2, 29, 11_016), (1970, 1, 1, 0), (1969, 12, 31, -1), (-1, 12, 31, -719_529)])
    func daysAreCountedFrom1970(year: Int, month: Int, day: Int, expected: Int) {
        #expect(CivilDate(year: year, month: month, day: day)?.daysSince1970 == expected)
    }

    @Test(arguments: [(7, 3, 2, 1), (-7, 3, -3, 2), (-6, 3, -2, 0), (0, 3, 0, 0)])
    func divisionRoundsDown(number: Int, divisor: Int, quotient: Int, rest: Int) {
        #expect(number.dividedDown(by: divisor) == (quotient, rest))
    }
}
