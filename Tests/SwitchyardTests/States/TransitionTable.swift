import Switchyard
import SwitchyardTesting

/// The table of state transitions: what each event does to a task in each situation.
///
/// A cell is the state of the task afterwards (`none`: it no longer exists; `retry`: pending and held by its backoff;
/// `again`: pending without a backoff, because its worker was lost), or
/// - `=`: the call is accepted, and does not change the task;
/// - `=state`: the same, and the reply is that state, because the same report has ended the attempt before;
/// - `stop`: the task does not change, and the worker is told to stop the attempt;
/// - `!word`: the call is refused, and changes nothing (`none` TASKNOTFOUND, `exists` TASKEXISTS, `lost` LEASELOST,
///   `state` INVALIDSTATE).
enum TransitionTable {
    private static let untilTheEnd = """
        event                   none       pending    schedule   retry      assigned   running    lastTry
        submit                  pending    !exists    !exists    !exists    !exists    !exists    !exists
        pull                    =          assigned   =          =          =          =          =
        pullAndStart            =          running    =          =          =          =          =
        start                   !none      !lost      !lost      !lost      running    =          =
        heartbeat               stop       stop       stop       stop       =          =          =
        finishCompleted         !none      !lost      !lost      !lost      !state     completed  completed
        finishFailed            !none      !lost      !lost      =pending   !state     retry      failed
        finishFailedForGood     !none      !lost      !lost      =pending   !state     failed     failed
        finishTimeout           !none      !lost      !lost      !lost      !state     retry      timeout
        earlierAttemptFinished  !none      !lost      !lost      !lost      !lost      !lost      !lost
        strangerFinished        !none      !lost      !lost      !lost      !lost      !lost      !lost
        leaseExpired            =          =          =          =          pending    again      failed
        timeLimitReached        =          =          =          =          =          retry      timeout
        workerLost              =          =          =          =          pending    again      failed
        deregister              =          =          =          =          pending    again      failed
        release                 !none      !lost      !lost      !lost      pending    !state     !state
        log                     !none      !lost      !lost      =          =          =          =
        due                     =          =          pending    pending    =          =          =
        cancel                  !none      cancelled  cancelled  cancelled  cancelled  cancelled  cancelled
        retry                   !none      !state     !state     !state     !state     !state     !state
        purge                   !none      !state     !state     !state     !state     !state     !state
        """

    private static let afterTheEnd = """
        event                   completed  failed     timeout    cancelled
        submit                  !exists    !exists    !exists    !exists
        pull                    =          =          =          =
        pullAndStart            =          =          =          =
        start                   !lost      !lost      !lost      !lost
        heartbeat               stop       stop       stop       stop
        finishCompleted         =completed !lost      !lost      !lost
        finishFailed            !lost      =failed    !lost      !lost
        finishFailedForGood     !lost      =failed    !lost      !lost
        finishTimeout           !lost      !lost      =timeout   !lost
        earlierAttemptFinished  !lost      !lost      !lost      !lost
        strangerFinished        !lost      !lost      !lost      !lost
        leaseExpired            =          =          =          =
        timeLimitReached        =          =          =          =
        workerLost              =          =          =          =
        deregister              =          =          =          =
        release                 !lost      !lost      !lost      !lost
        log                     =          =          =          =
        due                     =          =          =          =
        cancel                  !state     !state     !state     !state
        retry                   !state     pending    pending    pending
        purge                   none       none       none       none
        """

    /// The columns of the two tables, in their order. `schedule` and `retry` stand for tasks that are held.
    static let columns = Situation.allCases
    static let refusals = [
        "none": "TASKNOTFOUND", "exists": "TASKEXISTS", "lost": "LEASELOST", "state": "INVALIDSTATE",
    ]

    /// The cells of each event, by its name. The first line of each table names its columns.
    private static let rows: [String: [String]] = [untilTheEnd, afterTheEnd].reduce(into: [:]) { rows, table in
        for line in table.split(separator: "\n").dropFirst() {
            let words = line.split(separator: " ").map(String.init)
            rows[words[0], default: []] += words.dropFirst()
        }
    }

    /// Returns the cell of an event; nil if the table has no row for it.
    static func cell(_ event: Event, _ situation: Situation) -> String? {
        guard let cells = rows[event.rawValue], cells.count == columns.count,
            let column = columns.firstIndex(of: situation)
        else { return nil }
        return cells[column]
    }
}

/// An event that may change a task.
enum Event: String, CaseIterable, Sendable {
    case submit, pull, pullAndStart, start, heartbeat
    case finishCompleted, finishFailed, finishFailedForGood, finishTimeout
    /// A report on the attempt before the latest, by the same worker; on the latest, by another worker.
    case earlierAttemptFinished, strangerFinished
    case leaseExpired, timeLimitReached, workerLost, deregister, release, log, due
    case cancel, retry, purge
}
