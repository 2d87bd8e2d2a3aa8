import Foundation
import RedisClient
import SwitchyardTesting
import Testing

@testable import Switchyard

/// Times of schedules that come while the queue is paused.
@Suite struct PausedScheduleTests {
    private func firing(
        _ missed: RecurringSchedule.Missed, cron: String = "* * * * * *", due: Double, now: Double, resumed: Double
    ) throws -> String {
        let schedule = RecurringSchedule(
            id: "s", cron: cron, missed: missed, task: QueuedTask(BuildRequest(), priority: .normal))
        let firing = try schedule.firing(
            due: Date(timeIntervalSince1970: due), now: Date(timeIntervalSince1970: now),
            resumedAt: Date(timeIntervalSince1970: resumed))
        return "\(firing.makesTask ? "fire" : "skip") \(Int(firing.next.timeIntervalSince1970))"
    }

    @Test func aTimeBeforeTheResumptionIsMissed() throws {
        #expect(try firing(.skip, due: 1000, now: 1020.9, resumed: 1020.3) == "skip 1021")
        #expect(try firing(.once, due: 1000, now: 1020.9, resumed: 1020.3) == "fire 1021")
        #expect(try firing(.skip, due: 1000, now: 1022.5, resumed: 1020) == "skip 1020")
        // Times since the resumption still fire, one after the other.
        #expect(try firing(.once, due: 1000, now: 1022.5, resumed: 1020.3) == "fire 1021")
        #expect(try firing(.skip, due: 1021, now: 1022.5, resumed: 1020.3) == "fire 1022")
        // A pause long ago changes nothing.
        #expect(try firing(.skip, due: 1000, now: 1010, resumed: 900) == "fire 1001")
        #expect(try firing(.once, due: 1000, now: 1100, resumed: 1020) == "fire 1101")
    }

    @Test(arguments: RecurringSchedule.Missed.allCases)
    func aPausedQueueGetsNoTaskAndThenWhatThePolicySays(missed: RecurringSchedule.Missed) async throws {
        try await TestQueue.run { queue in
            var request = BuildRequest()
            request.command = ["true"]
            let task = QueuedTask(request, priority: .high)
            // Its times are a day apart, so only the overdue one fires.
            _ = try await queue.handle.putSchedule(
                RecurringSchedule(id: "s", cron: "0 3 * * *", missed: missed, task: task))
            // A schedule that becomes due after the resumption is not touched by the pause.
            _ = try await queue.handle.putSchedule(
                RecurringSchedule(id: "after", cron: "0 3 * * *", missed: missed, task: task))
            try await queue.handle.pause()
            let now = try #require(try await queue.call("stats").pairs["now"]?.int)
            let due = now - 5000
            try await queue.raw("ZADD", "{}schedules", "\(due)", "s")
            let tick = try await queue.call("tick").pairs
            #expect(tick["schedules"]?.array?.isEmpty == true)
            // A replica whose tick came before the pause fires nothing either.
            let fired = try await queue.call(
                "fire", "schedule", "s", "due", .integer(due), "next", .integer(due + 1000))
            #expect(fired.isNull)
            // To resume twice is the same as once, and pausing again starts anew.
            try await queue.handle.resume()
            try await queue.handle.resume()
            let resumed = try #require(try await queue.call("stats").pairs["now"]?.int)
            try await queue.raw("ZADD", "{}schedules", "\(resumed)", "after")
            let replica = try TaskScheduler(client: queue.redis.client, queues: [queue.name], logger: TestRedis.quiet)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await replica.run() }
                let isOver = try await eventually {
                    let next = try await queue.handle.getSchedules().compactMap(\.next)
                    return next.allSatisfy { $0.timeIntervalSince1970 * 1000 > Double(now) + 1000 }
                }
                #expect(isOver)
                group.cancelAll()
            }
            let ids = try await Snapshot(reading: queue.keys, client: queue.redis.client).taskIDs
            #expect(ids.contains("s.\(due)") == (missed == .once))
            #expect(ids.count { $0.hasPrefix("after.") } == 1)
        }
    }
}
