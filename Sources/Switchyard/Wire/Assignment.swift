import NIOCore
import RedisClient

extension WorkerClient {
    /// A task to run, with the lease of one attempt.
    ///
    /// The initializer reads only the fields that a worker needs to report the attempt. The rest of the task is decoded
    /// on demand.
    package struct Assignment: Sendable, Equatable {
        /// The task's id.
        package let id: String
        /// The attempt's number. It is the fencing token that every report carries.
        package let attempt: Int
        /// The time limit, counted from the start of the attempt.
        package let timeout: Duration
        /// True if the task has a unique key, dependencies or dependents. Its end then costs Redis up to three times as
        /// much as that of other tasks.
        package let concernsOthers: Bool
        /// The task's own time between SIGTERM and SIGKILL; nil: the worker's.
        package let grace: Duration?
        /// Names and values, alternating.
        private let pairs: [RESPValue]

        /// The task as it was submitted. Decoded on each access; store the value.
        package var task: QueuedTask { QueuedTask(ReplyFields(pairs: pairs), id: id) }

        /// The results of the task's dependencies: a JSON object of texts by task id, with null for a result that is
        /// missing or longer than 4096 bytes. Nil for a task without dependencies.
        package var dependencyResults: ByteBuffer? { ReplyFields(pairs: pairs).bytes("dependency_results") }

        init(_ reply: RESPValue) throws(SchedulerError) {
            guard case .array(let pairs) = reply, pairs.count % 2 == 0 else { throw Self.unexpected(reply) }
            var id: String?
            var attempt: Int?
            var timeout: Int?
            var concernsOthers = false
            var grace: Int64?
            for index in stride(from: 0, to: pairs.count, by: 2) {
                let name = pairs[index]
                if id == nil, name.isText("task") {
                    id = pairs[index + 1].string
                } else if attempt == nil, name.isText("attempt") {
                    attempt = NumberRange.any.number(pairs[index + 1], field: "attempt")
                } else if timeout == nil, name.isText("timeout_ms") {
                    timeout = NumberRange.duration.number(pairs[index + 1], field: "timeout_ms")
                } else if name.isText("uses") {
                    concernsOthers = true
                } else if name.isText("grace_ms") {
                    grace = pairs[index + 1].int
                }
            }
            guard let id, let attempt else { throw Self.unexpected(reply) }
            self.id = id
            self.attempt = attempt
            self.timeout = timeout.map { .milliseconds($0) } ?? SchedulerConfig().defaultTaskTimeout
            self.concernsOthers = concernsOthers
            self.grace = grace.map { .milliseconds($0) }
            self.pairs = pairs
        }

        private static func unexpected(_ reply: RESPValue) -> SchedulerError {
            .internal(message: "a function returned \(reply) where an assignment was expected", redisAway: false)
        }
    }
}
