import Foundation
import RedisClient

// Calls that put, remove and list recurring schedules. ScheduleFirer fires them.

extension SchedulerHandle {
    /// The maximum number of schedules that are listed. A queue may have ten times as many.
    public static let maxSchedulesListed = 1000
    /// Leaves room for the due time in the ids of the tasks.
    private static let maxScheduleIDLength = 170

    /// Creates a schedule, or replaces the one with the same id. If the cron expression and the zone stay the same, a
    /// time that is already due still fires.
    /// - Returns: the schedule with its next time, and whether it is new.
    /// - Throws: `invalidInput` for a bad id, cron expression or time zone, times that never come, or a task that
    ///   cannot recur.
    @discardableResult
    public func putSchedule(
        _ schedule: RecurringSchedule
    ) async throws -> (schedule: RecurringSchedule, isNew: Bool) {
        var schedule = schedule
        schedule.id = try Name.validate(schedule.id, field: "schedule_id")
        guard schedule.id.utf8.count <= Self.maxScheduleIDLength else {
            throw SchedulerError.invalidInput(
                field: "schedule_id",
                message: "schedule_id: expected at most \(Self.maxScheduleIDLength) characters, found "
                    + "\(schedule.id.utf8.count)")
        }
        schedule.task = prepared(template: schedule.task, id: schedule.id)
        let partition = try await partition(for: [schedule.task], name: schedule.id)
        let functions = functions[partition]
        let stats = try ReplyFields(await functions.call("stats", []))
        guard let now = stats.date("now") else {
            throw SchedulerError.internal(message: "switchyard_stats returned no time", redisAway: false)
        }
        var next = try schedule.next(after: now)
        let earlier = try await functions.schedule(schedule.id)
        let id = schedule.id
        let known = try await all { try await $0.schedule(id) != nil }
        guard !known.indices.contains(where: { known[$0] && $0 != partition }) else {
            throw SchedulerError.invalidInput(
                field: "schedule_id",
                message:
                    "schedule_id: schedule \(schedule.id) exists in another partition of the queue, because it had "
                    + "other keys; remove it first")
        }
        if let earlier, earlier.cron == schedule.cron, earlier.zone == schedule.zone, let due = earlier.next {
            next = min(next, due)
        }
        _ = try await functions.call("schedule", try schedule.arguments(next: next))
        schedule.next = next
        schedule.last = earlier?.last
        return (schedule, earlier == nil)
    }

    /// Removes a schedule. The tasks that it has submitted stay.
    /// - Returns: false if there is no schedule with this id.
    @discardableResult
    public func removeSchedule(_ id: String) async throws -> Bool {
        let id = try Name.validate(id, field: "schedule_id")
        return try await all { try await $0.call("unschedule", ["schedule", .string(id)]).int == 1 }.contains(true)
    }

    /// Returns the schedules by their next time, at most ``maxSchedulesListed``.
    public func getSchedules() async throws -> [RecurringSchedule] {
        let parts = try await all {
            try await $0.schedules(["limit", .integer(Int64(Self.maxSchedulesListed))])
        }
        guard parts.count > 1 else { return parts[0] }
        let merged = parts.joined().sorted { ($0.next ?? .distantFuture) < ($1.next ?? .distantFuture) }
        return Array(merged.prefix(Self.maxSchedulesListed))
    }

    /// Returns a schedule, or nil if there is none with this id.
    public func getSchedule(_ id: String) async throws -> RecurringSchedule? {
        let id = try Name.validate(id, field: "schedule_id")
        return try await all { try await $0.schedule(id) }.compactMap { $0 }.first
    }

    /// Returns the task of a schedule with its priority. The priority is chosen once, as if the queue were empty.
    private func prepared(template: QueuedTask, id: String) -> QueuedTask {
        var task = template
        task.id = id
        // Each firing is a new submission, identified by the id of its task.
        task.requestToken = nil
        if task.priority == nil {
            let decision = policy.decide(task.request, load: 0)
            task.priority = decision.priority
            task.priorityReason = decision.reason
        } else if task.priorityReason == nil {
            task.priorityReason = QueuedTask.givenReason
        }
        return task
    }
}

extension QueueFunctions {
    func schedule(_ id: String) async throws -> RecurringSchedule? {
        try await schedules(["schedule", .string(id)]).first
    }

    fileprivate func schedules(_ arguments: [RedisArgument]) async throws -> [RecurringSchedule] {
        try (await call("schedules", arguments).array ?? []).map { reply in
            try RecurringSchedule(try ReplyFields(reply))
        }
    }
}
