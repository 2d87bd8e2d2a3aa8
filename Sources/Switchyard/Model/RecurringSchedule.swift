import Foundation

/// A task that is made again and again, at the times of a cron expression. It lives in Redis; replicas fire it, each time
/// once, however many they are.
public struct RecurringSchedule: Sendable, Equatable {
    /// What to do about times that passed while nothing ran: while no replica lived, or Redis was away, or the queue was
    /// full. A time counts as missed once it is ``tolerance`` ago; until then it still fires.
    public enum Missed: String, Sendable, CaseIterable {
        /// Nothing.
        case skip
        /// Fire once for all of them.
        case once
    }

    /// 1 to 170 characters of `A-Z a-z 0-9 . _ : -`. Its tasks are named `<id>.<the time they were due, ms since 1970>`.
    public var id: String
    /// See ``CronExpression``. A text, because one that another version wrote may be no expression to us.
    public var cron: String
    /// By its IANA name.
    public var zone: String
    public var missed: Missed
    /// The task to make; its id counts for nothing.
    public var task: QueuedTask
    /// When it fires next; nil before it is put, and where it never does.
    public var next: Date?
    /// The due time of the latest firing.
    public var last: Date?
    /// Why it does not fire, although it is there: only in one that was read back, after another program wrote it.
    public internal(set) var problem: String?

    public init(id: String, cron: String, zone: String = "UTC", missed: Missed = .skip, task: QueuedTask) {
        self.id = id
        self.cron = cron
        self.zone = zone
        self.missed = missed
        self.task = task
    }

    /// Replicas look twice a second, so a time is late by more only when all of them restart, or Redis fails over. A minute
    /// covers that, and is less than what lies between two times of most schedules.
    public static let tolerance: TimeInterval = 60

    /// The first time after `date`.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad cron expression or zone, or times that never come.
    public func next(after date: Date) throws(SchedulerError) -> Date {
        let expression = try CronExpression(cron)
        guard let next = expression.next(after: date, in: try TimeZone.named(zone)) else {
            throw .invalidInput(
                field: "cron", message: "cron: expected times that come, found \(Name.shown(cron)), which never does")
        }
        return next
    }

    struct Firing: Equatable {
        /// False: the time was missed, and is skipped.
        var makesTask: Bool
        /// The time that is due after it; may be past already.
        var next: Date
    }

    /// What to do at `now` about the time `due`, which has come.
    func firing(due: Date, now: Date) throws(SchedulerError) -> Firing {
        let isMissed = now.timeIntervalSince(due) > Self.tolerance
        guard isMissed else { return Firing(makesTask: true, next: try next(after: due)) }
        switch missed {
        case .once:
            return Firing(makesTask: true, next: try next(after: now))
        case .skip:
            // Those that are not missed yet still fire, each at its turn.
            let oldest = (now.timeIntervalSince1970 - Self.tolerance).rounded(.up)
            return Firing(makesTask: false, next: try next(after: Date(timeIntervalSince1970: oldest - 1)))
        }
    }
}
