/// The state of a task. Only the functions in Redis change it; `Functions/core/states.lua` has the same transitions.
///
/// `pending → assigned → running → completed | failed | timeout | cancelled`; the last four are terminal.
public enum TaskState: String, Sendable, CaseIterable, Codable {
    /// Waits for a worker, or for what ``HoldReason`` says. Can transition to: `assigned` or `running` if a worker
    /// pulls it; `cancelled` on request, or if a dependency ends without success.
    case pending
    /// Pulled by a worker, not started. Can transition to: `running` if the worker starts it; `pending` if the worker
    /// does not start it in time, gives it back or is lost; `failed` after too many deliveries; `cancelled` on request.
    case assigned
    /// Started. Heartbeats renew its lease. Can transition to: `completed`, `failed` or `timeout` as its attempt ends;
    /// `pending` if the attempt ended without success and a retry is left; `cancelled` on request.
    case running
    /// Ended with success. Can transition to: nothing.
    case completed
    /// Ended without success, and no retry is left. Can transition to: `pending` if somebody requests a retry.
    case failed
    /// The last attempt exceeded its time limit. Can transition to: `pending` if somebody requests a retry.
    case timeout
    /// Ended on request, or because a dependency ended without success. Can transition to: `pending` if somebody
    /// requests a retry.
    case cancelled

    /// Whether the task has ended. Only a requested retry changes its state again.
    public var isTerminal: Bool {
        switch self {
        case .completed, .failed, .timeout, .cancelled: true
        case .pending, .assigned, .running: false
        }
    }
}

/// What a pending task waits for, if not for a worker.
public enum HoldReason: String, Sendable, Codable {
    /// Its start time: `run_at`, or the end of its delay.
    case schedule
    /// The end of the backoff before its next attempt.
    case retry
    /// The end of its former attempt's process, which was told to end.
    case ending
    /// The end of the tasks that it depends on.
    case dependencies
    /// The end of another task with its concurrency key: as many as its limit allows are assigned or running.
    case concurrencyLimit = "concurrency_limit"
    /// The time at which its rate limit allows the next start.
    case rateLimit = "rate_limit"
    /// The end of the queue's pause.
    case paused
}
