import Switchyard
import SwitchyardTesting

/// DESIGN §3 as a table: what each event makes of a task in each situation.
///
/// A cell is the state that the task is in afterwards (`none`: it is gone; `retry`: pending, held by its backoff; `again`: pending
/// without one, for its worker was lost), or
/// - `=`: the call is accepted, and nothing about the task changes;
/// - `=state`: the same, answered with that state, because the very same report ended the attempt before;
/// - `stop`: nothing changes, and the worker is told to stop the attempt;
/// - `!word`: refused, and nothing changes (`none` TASKNOTFOUND, `exists` TASKEXISTS, `lost` LEASELOST,
///   `state` INVALIDSTATE).
enum TransitionTable {
    static let text = """
        event                   none       pending    schedule   retry      assigned   running    lastTry    completed  failed     timeout    cancelled
        submit                  pending    !exists    !exists    !exists    !exists    !exists    !exists    !exists    !exists    !exists    !exists
        pull                    =          assigned   =          =          =          =          =          =          =          =          =
        pullAndStart            =          running    =          =          =          =          =          =          =          =          =
        start                   !none      !lost      !lost      !lost      running    =          =          !lost      !lost      !lost      !lost
        heartbeat               stop       stop       stop       stop       =          =          =          stop       stop       stop       stop
        finishCompleted         !none      !lost      !lost      !lost      !state     completed  completed  =completed !lost      !lost      !lost
        finishFailed            !none      !lost      !lost      =pending   !state     retry      failed     !lost      =failed    !lost      !lost
        finishFailedForGood     !none      !lost      !lost      =pending   !state     failed     failed     !lost      =failed    !lost      !lost
        finishTimeout           !none      !lost      !lost      !lost      !state     retry      timeout    !lost      !lost      =timeout   !lost
        earlierAttemptFinished  !none      !lost      !lost      !lost      !lost      !lost      !lost      !lost      !lost      !lost      !lost
        strangerFinished        !none      !lost      !lost      !lost      !lost      !lost      !lost      !lost      !lost      !lost      !lost
        leaseExpired            =          =          =          =          pending    again      failed     =          =          =          =
        timeLimitReached        =          =          =          =          =          retry      timeout    =          =          =          =
        workerLost              =          =          =          =          pending    again      failed     =          =          =          =
        deregister              =          =          =          =          pending    again      failed     =          =          =          =
        release                 !none      !lost      !lost      !lost      pending    !state     !state     !lost      !lost      !lost      !lost
        log                     !none      !lost      !lost      !lost      =          =          =          !lost      !lost      !lost      !lost
        due                     =          =          pending    pending    =          =          =          =          =          =          =
        cancel                  !none      cancelled  cancelled  cancelled  cancelled  cancelled  cancelled  !state     !state     !state     !state
        retry                   !none      !state     !state     !state     !state     !state     !state     !state     pending    pending    pending
        purge                   !none      !state     !state     !state     !state     !state     !state     none       none       none       none
        """

    /// The columns are the situations, in their order: pending, held by a schedule, held for a retry, …
    static let columns = Situation.allCases
    static let refusals = [
        "none": "TASKNOTFOUND", "exists": "TASKEXISTS", "lost": "LEASELOST", "state": "INVALIDSTATE",
    ]

    private static let rows: [String: [String]] = Dictionary(
        uniqueKeysWithValues: text.split(separator: "\n").dropFirst().map { line in
            let words = line.split(separator: " ").map(String.init)
            return (words[0], Array(words.dropFirst()))
        })

    /// Nil where the table says nothing.
    static func cell(_ event: Event, _ situation: Situation) -> String? {
        guard let cells = rows[event.rawValue], cells.count == columns.count,
            let column = columns.firstIndex(of: situation)
        else { return nil }
        return cells[column]
    }
}

/// What can happen to a task.
enum Event: String, CaseIterable, Sendable {
    case submit, pull, pullAndStart, start, heartbeat
    case finishCompleted, finishFailed, finishFailedForGood, finishTimeout
    /// A report of the attempt before the latest, by the same worker; of the latest, by another worker.
    case earlierAttemptFinished, strangerFinished
    case leaseExpired, timeLimitReached, workerLost, deregister, release, log, due
    case cancel, retry, purge
}
