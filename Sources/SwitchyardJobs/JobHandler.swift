import Dispatch
import Logging
import Metrics
import NIOCore
import Switchyard
import SwitchyardWorker
import Tracing

/// Finds the handler of a task's kind, and runs it in a span, between the middleware, counted.
///
/// Metrics: the counter `switchyard_job_attempts_total` and the timer `switchyard_job_seconds`, by `queue`, `kind` and
/// `outcome` (completed, failed, cancelled).
struct JobHandler: TaskHandler {
    let coder: any JobCoder
    let logger: Logger
    var middleware: [any JobMiddleware] = []
    private var handlers: [String: @Sendable (ByteBuffer, JobContext) async throws -> ByteBuffer?] = [:]

    init(coder: any JobCoder, logger: Logger) {
        self.coder = coder
        self.logger = logger
    }

    /// What a task holds, less what its error message may have.
    private static let maxResultBytes = 1 << 20

    var kinds: [String] { handlers.keys.sorted() }

    mutating func add<J: Job>(
        _ type: J.Type, _ handle: @escaping @Sendable (J, JobContext) async throws -> J.Result
    ) {
        handlers[J.kind] = { [coder] payload, context in
            let job: J
            do {
                job = try coder.decode(J.self, from: payload)
            } catch {
                throw PermanentFailure("the payload is no job of kind \(J.kind): \(error)", code: "UnreadableJob")
            }
            let result = try await handle(job, context)
            if result is NoResult { return nil }
            let bytes = try coder.encode(result)
            guard bytes.readableBytes <= Self.maxResultBytes else {
                throw PermanentFailure(
                    "the result has \(bytes.readableBytes) bytes; at most \(Self.maxResultBytes) are kept with a task",
                    code: "ResultTooLong")
            }
            return bytes
        }
    }

    func run(_ attempt: Attempt) async -> AttemptOutcome {
        let task = attempt.task
        let kind = task.request.kind ?? ""
        var logger = logger
        logger[metadataKey: "task_id"] = "\(attempt.id)"
        logger[metadataKey: "attempt"] = "\(attempt.number)"
        logger[metadataKey: "kind"] = "\(kind)"
        let context = JobContext(attempt: attempt, coder: coder, logger: logger)
        let started = DispatchTime.now().uptimeNanoseconds
        let outcome: AttemptOutcome
        do {
            let result = try await withSpan(kind, context: TraceParent.context(of: task), ofKind: .consumer) { span in
                span.attributes["switchyard.queue"] = attempt.queue
                span.attributes["switchyard.task_id"] = attempt.id
                span.attributes["switchyard.attempt"] = attempt.number
                return try await handle(kind, task.request.payload ?? ByteBuffer(), context)
            }
            outcome = .completed(result: result)
        } catch {
            for layer in middleware.reversed() { await layer.failed(context, error) }
            logger.debug("an attempt failed", metadata: ["error": "\(error)"])
            outcome = .failed(
                TaskFailure(thrown: error), isRetryable: !(error is PermanentFailure),
                retryAfter: (error as? RetryLater)?.after)
        }
        count(kind, outcome, queue: attempt.queue, nanoseconds: DispatchTime.now().uptimeNanoseconds - started)
        return outcome
    }

    private func handle(_ kind: String, _ payload: ByteBuffer, _ context: JobContext) async throws -> ByteBuffer? {
        guard let handler = handlers[kind] else {
            throw PermanentFailure(
                "worker \(context.attempt.workerID) has no handler for kind “\(kind)”; it has "
                    + kinds.joined(separator: ", "),
                code: "NoHandler")
        }
        for layer in middleware { try await layer.before(context) }
        let result = try await handler(payload, context)
        for layer in middleware.reversed() { await layer.after(context) }
        return result
    }

    private func count(_ kind: String, _ outcome: AttemptOutcome, queue: String, nanoseconds: UInt64) {
        let name: String
        switch outcome {
        case .completed: name = "completed"
        case .failed: name = Task.isCancelled ? "cancelled" : "failed"
        case .handedBack: name = "handed_back"
        }
        let dimensions = [("queue", queue), ("kind", kind), ("outcome", name)]
        Counter(label: "switchyard_job_attempts_total", dimensions: dimensions).increment()
        Metrics.Timer(label: "switchyard_job_seconds", dimensions: dimensions)
            .recordNanoseconds(Int64(clamping: nanoseconds))
    }
}
