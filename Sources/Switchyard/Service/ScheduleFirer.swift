import Foundation
import Logging
import RedisClient

/// Fires the due schedules of one partition of a queue, for one replica.
///
/// Any number of replicas may fire the same schedule: the function in Redis submits the task only if the given time is
/// still the due time, and sets the next time in the same call. A schedule that cannot fire does not stop the others.
struct ScheduleFirer {
    let functions: QueueFunctions
    let logger: Logger
    /// Schedules that stay due, such as while the queue is full. They are logged once, not at every tick.
    private var told: Set<String> = []

    /// The delay, in seconds, of a schedule that is invalid or refused: it is tried and logged once an hour until it is
    /// put again or removed. It is never dropped, because a newer replica, in a rollout, may understand it.
    static let putOff: TimeInterval = 3600
    /// Limit on the times of one schedule that one tick fires: enough for a schedule that fires every second to catch
    /// up on all times within the tolerance.
    private static let maxCatchUp = Int(RecurringSchedule.tolerance) + 1

    init(functions: QueueFunctions, logger: Logger) {
        self.functions = functions
        self.logger = logger
    }

    /// - Parameters:
    ///   - ids: the schedules that are due.
    ///   - now: Redis's time.
    ///   - resumedAt: when the latest pause of the queue ended.
    /// - Throws: `CancellationError`.
    mutating func fire(_ ids: [String], now: Date, resumedAt: Date?) async throws {
        for id in ids {
            do {
                guard let schedule = try await functions.schedule(id), let due = schedule.next else { continue }
                try await fireOrPutOff(schedule, due: due, now: now, resumedAt: resumedAt)
                told.remove(id)
            } catch let error as SchedulerError {
                // It stays due. Whether its time is missed depends on how late it fires in the end.
                if told.insert(id).inserted {
                    log(.warning, "a schedule is due and cannot fire yet", id, error.message)
                }
                // The next tick reports that Redis is away. If Redis is out of memory, ticks still succeed.
                if case .internal(_, redisAway: true) = error { return }
            }
        }
    }

    private func fireOrPutOff(_ schedule: RecurringSchedule, due: Date, now: Date, resumedAt: Date?) async throws {
        do {
            try await fire(schedule, due: due, now: now, resumedAt: resumedAt)
        } catch let error as SchedulerError {
            switch error {
            case .queueFull, .queueDraining, .internal(_, redisAway: true): throw error
            default: break
            }
            log(.error, "a schedule cannot fire, and is delayed by an hour", schedule.id, error.message)
            _ = try await call(schedule, due: due, next: now.addingTimeInterval(Self.putOff), skip: true)
        }
    }

    private func fire(_ schedule: RecurringSchedule, due: Date, now: Date, resumedAt: Date?) async throws {
        if let problem = schedule.problem { throw SchedulerError.invalidInput(field: nil, message: problem) }
        var due = due
        for _ in 0..<Self.maxCatchUp where due <= now {
            let firing = try schedule.firing(due: due, now: now, resumedAt: resumedAt)
            let task = try await call(schedule, due: due, next: firing.next, skip: !firing.makesTask)
            if !firing.makesTask { log(.info, "a schedule's time was missed, and is skipped", schedule.id, "\(due)") }
            // Nil: this call submitted no task, such as because another replica was first. If a time is still due, the
            // next tick fires it.
            guard task != nil else { return }
            due = firing.next
        }
    }

    /// Calls `switchyard_fire`.
    /// - Returns: the id of the task that it submitted, or nil.
    private func call(_ schedule: RecurringSchedule, due: Date, next: Date, skip: Bool) async throws -> String? {
        try await functions.call(
            "fire",
            [
                "schedule", .string(schedule.id), "due", .integer(due.milliseconds),
                "next", .integer(next.milliseconds), "skip", skip ? "1" : "0",
            ]
        ).string
    }

    private func log(_ level: Logger.Level, _ message: Logger.Message, _ id: String, _ reason: String) {
        logger.log(
            level: level, message,
            metadata: ["queue": "\(functions.keys.name)", "schedule": "\(id)", "reason": "\(reason)"])
    }
}
