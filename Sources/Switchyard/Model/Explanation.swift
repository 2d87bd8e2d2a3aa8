/// Why a task does not run.
public struct Explanation: Sendable, Equatable {
    public var id: String
    public var state: TaskState
    /// None: it runs, has ended, or is about to be pulled.
    public var reasons: [Reason]

    public struct Reason: Sendable, Equatable {
        /// `position`, `schedule`, `backoff`, `dependencies`, `paused`, `concurrency_limit`, `rate_limit`,
        /// `no_worker_matches`, `workers_busy`, `insufficient_resources` or `reserved`.
        public var code: String
        /// For people: with the numbers, and what would change it.
        public var message: String
        /// The numbers by their names, as Redis wrote them; `due_at` in milliseconds since 1970.
        public var details: [String: String]
    }
}
