import Foundation

/// A task that is submitted again and again, at the times of a cron expression. It is stored in Redis. Each time fires
/// once, whatever the number of replicas.
public struct RecurringSchedule: Sendable, Equatable {
    /// What to do about times that were missed because no replica ran, Redis was away, or the queue was paused, full or
    /// draining. A time is missed once it is more than ``tolerance`` ago; until then it still fires. A time that came
    /// while the queue was paused is missed at once.
    public enum Missed: String, Sendable, CaseIterable {
        /// Drop the missed times.
        case skip
        /// Fire once for all missed times.
        case once
    }

    /// 1 to 170 characters of `A-Z a-z 0-9 . _ : -`. Its tasks have ids `<id>.<due time, ms since 1970>`.
    public var id: String
    /// See ``CronExpression``. It is a text because this version may be unable to parse what another version wrote.
    public var cron: String
    /// The IANA name of the time zone.
    public var zone: String
    /// What to do about missed times.
    public var missed: Missed
    /// The task to submit. Its id is ignored.
    public var task: QueuedTask
    /// When it fires next; nil before the schedule is put.
    public var next: Date?
    /// The due time of the latest firing.
    public var last: Date?
    /// Why the schedule cannot fire. Set only in a schedule that was read and that another program or version wrote.
    public internal(set) var problem: String?

    /// A schedule to put.
    public init(id: String, cron: String, zone: String = "UTC", missed: Missed = .skip, task: QueuedTask) {
        self.id = id
        self.cron = cron
        self.zone = zone
        self.missed = missed
        self.task = task
    }

    /// How late a time may still fire, in seconds.
    ///
    /// Replicas look at least twice a second, so a time is late by much more only while all of them restart or Redis
    /// fails over. A minute covers that, and is shorter than the interval of most schedules.
    public static let tolerance: TimeInterval = 60

    /// Returns the first time after `date`.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad cron expression or zone, or times that never
    ///   come.
    public func next(after date: Date) throws(SchedulerError) -> Date {
        let expression = try CronExpression(cron)
        guard let next = expression.next(after: date, in: try TimeZone.named(zone)) else {
            throw .invalidInput(
                field: "cron", message: "cron: expected times that come, found \(Name.shown(cron)), which never does")
        }
        return next
    }

    /// What to do about a due time.
    struct Firing: Equatable {
        /// False if the time was missed and is skipped.
        var makesTask: Bool
        /// The next due time. It may be in the past.
        var next: Date
    }

    /// Returns what to do at `now` about the due time `due`, which is not after `now`.
    /// - Parameter resumedAt: when the latest pause of the queue ended. Earlier times are missed.
    func firing(due: Date, now: Date, resumedAt: Date? = nil) throws(SchedulerError) -> Firing {
        let tolerated = now.addingTimeInterval(-Self.tolerance)
        // Times from here on still fire, one after the other.
        let oldest = max(tolerated, resumedAt ?? tolerated)
        guard due < oldest else { return Firing(makesTask: true, next: try next(after: due)) }
        switch missed {
        case .once:
            return Firing(makesTask: true, next: try next(after: oldest == tolerated ? now : oldest))
        case .skip:
            let second = oldest.timeIntervalSince1970.rounded(.up)
            return Firing(makesTask: false, next: try next(after: Date(timeIntervalSince1970: second - 1)))
        }
    }
}
