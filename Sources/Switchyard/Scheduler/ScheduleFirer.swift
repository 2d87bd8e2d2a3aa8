import Foundation
import Logging
import RedisClient

/// Fires the schedules of a queue, or of one of its partitions, for one replica, when a tick says that they are due.
///
/// Any number of replicas may fire the same schedule: the function in Redis makes the task only while the time is still the
/// one that is due, and sets the next time in the same call. One that cannot be fired does not stop the others.
struct ScheduleFirer {
    let functions: QueueFunctions
    let logger: Logger
    /// Those that stay due, such as for want of room in the queue: said once, not at every tick.
    private var told: Set<String> = []

    /// A schedule that cannot be read or is refused is put off by this, instead of being tried at every tick: it is tried
    /// and logged once an hour until it is put again or removed. Never dropped: it may be that a newer version, still being
    /// rolled out, understands it.
    static let putOff: TimeInterval = 3600
    /// Times of one schedule that one tick may fire: what the skip policy lets a schedule of every second catch up on.
    private static let maxCatchUp = Int(RecurringSchedule.tolerance) + 1

    init(functions: QueueFunctions, logger: Logger) {
        self.functions = functions
        self.logger = logger
    }

    /// - Parameters:
    ///   - ids: the schedules that are due.
    ///   - now: Redis's time.
    /// - Throws: `CancellationError`.
    mutating func fire(_ ids: [String], now: Date) async throws {
        for id in ids {
            do {
                guard let schedule = try await functions.schedule(id), let due = schedule.next else { continue }
                try await fireOrPutOff(schedule, due: due, now: now)
                told.remove(id)
            } catch let error as SchedulerError {
                // It stays due, and how late it is in the end decides what becomes of it.
                if told.insert(id).inserted {
                    log(.warning, "a schedule is due and cannot fire yet", id, error.message)
                }
                // Redis is away, which is for the next tick to notice; or full, while ticks still go on.
                if case .internal(_, redisAway: true) = error { return }
            }
        }
    }

    private func fireOrPutOff(_ schedule: RecurringSchedule, due: Date, now: Date) async throws {
        do {
            try await fire(schedule, due: due, now: now)
        } catch let error as SchedulerError {
            switch error {
            case .queueFull, .queueDraining, .internal(_, redisAway: true): throw error
            default: break
            }
            log(.error, "a schedule cannot fire, and is put off for an hour", schedule.id, error.message)
            _ = try await call(schedule, due: due, next: now.addingTimeInterval(Self.putOff), skip: true)
        }
    }

    private func fire(_ schedule: RecurringSchedule, due: Date, now: Date) async throws {
        if let problem = schedule.problem { throw SchedulerError.invalidInput(field: nil, message: problem) }
        var due = due
        for _ in 0..<Self.maxCatchUp where due <= now {
            let firing = try schedule.firing(due: due, now: now)
            let task = try await call(schedule, due: due, next: firing.next, skip: !firing.makesTask)
            if !firing.makesTask { log(.info, "a schedule's time was missed, and is skipped", schedule.id, "\(due)") }
            // Another replica was first: what is due now is not for us to say.
            guard task != nil else { return }
            due = firing.next
        }
    }

    /// - Returns: the id of the task that it made, if it made one.
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
            metadata: ["queue": "\(functions.keys.place)", "schedule": "\(id)", "reason": "\(reason)"])
    }
}
