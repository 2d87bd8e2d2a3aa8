import Foundation
import Testing

@testable import Switchyard

/// Times that passed while no replica ran.
@Suite struct MissedRunsTests {
    private func firing(
        _ missed: RecurringSchedule.Missed, cron: String = "* * * * *", due: String, now: String
    ) throws -> String {
        let schedule = RecurringSchedule(
            id: "s", cron: cron, missed: missed, task: QueuedTask(BuildRequest(), priority: .normal))
        let firing = try schedule.firing(
            due: Date(due, strategy: .iso8601), now: Date(now, strategy: .iso8601))
        return "\(firing.makesTask ? "fire" : "skip") \(firing.next.formatted(.iso8601))"
    }

    @Test(arguments: RecurringSchedule.Missed.allCases)
    func aTimeIsNotMissedUntilAMinuteHasPassed(missed: RecurringSchedule.Missed) throws {
        for now in ["2026-01-01T03:00:00Z", "2026-01-01T03:00:59Z", "2026-01-01T03:01:00Z"] {
            #expect(try firing(missed, due: "2026-01-01T03:00:00Z", now: now) == "fire 2026-01-01T03:01:00Z")
        }
        // The times between are due next, one after the other.
        #expect(
            try firing(missed, cron: "* * * * * *", due: "2026-01-01T03:00:00Z", now: "2026-01-01T03:00:30Z")
                == "fire 2026-01-01T03:00:01Z")
    }

    @Test func skipFiresNothingForTheMissedTimes() throws {
        #expect(
            try firing(.skip, cron: "0 3 * * *", due: "2026-01-01T03:00:00Z", now: "2026-01-04T12:00:00Z")
                == "skip 2026-01-05T03:00:00Z")
        // At 03:10, 03:09 and 03:10 do not count as missed yet.
        #expect(
            try firing(.skip, due: "2026-01-01T03:00:00Z", now: "2026-01-01T03:10:00Z") == "skip 2026-01-01T03:09:00Z")
        #expect(
            try firing(.skip, due: "2026-01-01T03:00:00Z", now: "2026-01-01T03:10:01Z") == "skip 2026-01-01T03:10:00Z")
    }

    @Test func onceFiresOneForAllTheMissedTimes() throws {
        #expect(
            try firing(.once, cron: "0 3 * * *", due: "2026-01-01T03:00:00Z", now: "2026-01-04T12:00:00Z")
                == "fire 2026-01-05T03:00:00Z")
        #expect(
            try firing(.once, due: "2026-01-01T03:00:00Z", now: "2026-01-01T03:10:01Z") == "fire 2026-01-01T03:11:00Z")
    }
}
