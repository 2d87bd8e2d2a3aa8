/// Where a task is in its life. The functions in Redis alone change it (`Functions/core/states.lua` is the same table).
///
/// `pending → assigned → running → completed | failed | timeout | cancelled`; the last four are terminal.
public enum TaskState: String, Sendable, CaseIterable, Codable {
    /// Waiting. Can transition to: `assigned` or `running` if a worker pulls it; `cancelled` on request.
    case pending
    /// Pulled by a worker, not started. Can transition to: `running` if the worker starts it; `pending` if it does not
    /// in time, gives it back or is lost; `failed` if that happened too often; `cancelled` on request.
    case assigned
    /// Started, its lease renewed by heartbeats. Can transition to: `completed`, `failed` or `timeout` as its attempt
    /// ends; `pending` if the attempt ended without success and retries are left; `cancelled` on request.
    case running
    /// Ended well. Can transition to: nothing.
    case completed
    /// Ended without success, retries used up. Can transition to: `pending` if a person asks for a retry.
    case failed
    /// The last attempt exceeded its time limit. Can transition to: `pending` if a person asks for a retry.
    case timeout
    /// Ended on request. Can transition to: `pending` if a person asks for a retry.
    case cancelled

    /// Nothing happens to the task any more, unless a person asks for it.
    public var isTerminal: Bool {
        switch self {
        case .completed, .failed, .timeout, .cancelled: true
        case .pending, .assigned, .running: false
        }
    }
}

/// What a pending task waits for, if not for a worker.
public enum HoldReason: String, Sendable, Codable {
    /// Its `run_at`.
    case schedule
    /// The backoff before its next attempt.
    case retry
    /// Tasks that must complete first.
    case dependencies
    /// As many tasks of its concurrency key run as may.
    case concurrencyLimit = "concurrency_limit"
    /// Its turn by its rate key.
    case rateLimit = "rate_limit"
    /// Its queue is paused.
    case paused
}
