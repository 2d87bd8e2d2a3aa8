/// Why a task does not run.
public struct Explanation: Sendable, Equatable {
    /// The task's id.
    public var id: String
    /// The task's state.
    public var state: TaskState
    /// Why it is not running, the decisive reason first. Empty if it runs, has ended, or is about to be pulled.
    public var reasons: [Reason]

    /// One reason why a task does not run.
    public struct Reason: Sendable, Equatable {
        /// `paused`, `schedule`, `backoff`, `ending`, `dependencies`, `concurrency_limit`, `rate_limit`,
        /// `no_worker_matches`, `workers_busy`, `insufficient_resources`, `reserved`, `cordoned` or `position`.
        public var code: String
        /// A text for people, with the numbers and what would change the situation.
        public var message: String
        /// The numbers by name, as Redis returned them; `due_at` is in milliseconds since 1970.
        public var details: [String: String]
    }
}
