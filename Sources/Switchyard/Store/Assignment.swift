import NIOCore
import RedisClient

extension WorkerProtocol {
    /// A task to run, with the lease of one attempt.
    ///
    /// Of what Redis sent only that is read which a worker needs to hold and report the attempt; the task itself is made
    /// when somebody asks for it.
    public struct Assignment: Sendable, Equatable {
        /// The task's.
        public let id: String
        /// The fencing token: every report carries it.
        public let attempt: Int
        /// The time limit, from the start.
        public let timeout: Duration
        /// Its end concerns other tasks, or it has limits or a unique key: it costs Redis up to three times as much as a
        /// plain one.
        public let concernsOthers: Bool
        /// An even number of names and values.
        private let pairs: [RESPValue]

        /// The task as it was submitted. Made anew each time: keep it.
        public var task: QueuedTask { QueuedTask(ReplyFields(pairs: pairs), id: id) }

        /// What the tasks that it depends on have answered: a JSON object of texts by task id, null where a result is
        /// longer than 4096 bytes or missing. Nil for a task without dependencies.
        public var dependencyResults: ByteBuffer? { ReplyFields(pairs: pairs).bytes("dependency_results") }

        init(_ reply: RESPValue) throws(SchedulerError) {
            guard case .array(let pairs) = reply, pairs.count % 2 == 0 else { throw Self.unexpected(reply) }
            var id: String?
            var attempt: Int64?
            var timeout: Int64?
            var concernsOthers = false
            for index in stride(from: 0, to: pairs.count, by: 2) {
                let name = pairs[index]
                if id == nil, name.isText("task") {
                    id = pairs[index + 1].string
                } else if attempt == nil, name.isText("attempt") {
                    attempt = pairs[index + 1].int
                } else if timeout == nil, name.isText("timeout_ms") {
                    timeout = pairs[index + 1].int
                } else if name.isText("uses") {
                    concernsOthers = true
                }
            }
            guard let id, let attempt else { throw Self.unexpected(reply) }
            self.id = id
            self.attempt = Int(attempt)
            self.timeout = .milliseconds(timeout ?? 0)
            self.concernsOthers = concernsOthers
            self.pairs = pairs
        }

        private static func unexpected(_ reply: RESPValue) -> SchedulerError {
            .internal(message: "a function answered \(reply) where an assignment was expected", redisAway: false)
        }
    }
}
