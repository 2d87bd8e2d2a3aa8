import Foundation
import Logging
import ServiceLifecycle
import Switchyard
import SwitchyardWorker

/// Runs the jobs of the kinds that it has handlers for.
///
/// It is a `Service`: a graceful shutdown takes no more jobs, and `run` returns when those that run have ended.
public struct JobWorker: Service {
    private let queue: JobQueue
    private let id: String
    private let options: WorkerOptions
    private let logger: Logger
    private var handler: JobHandler

    /// - Parameters:
    ///   - slots: how many jobs it runs at once: 1 to 1000.
    ///   - id: unique among the workers of the queue. Nil: the host's name, the process's id and a random part.
    ///   - options: labels and capacity that it offers besides; its `slots` are those of the parameter.
    public init(
        _ queue: JobQueue, slots: Int = 1, id: String? = nil, options: WorkerOptions = WorkerOptions(),
        logger: Logger? = nil
    ) {
        self.queue = queue
        self.options = options.with(slots: slots)
        self.logger = logger ?? queue.logger
        self.id = id ?? Self.generatedID()
        handler = JobHandler(coder: queue.coder, logger: self.logger)
    }

    /// Registers the handler of a kind. A second one for the same kind replaces the first.
    ///
    /// A handler that throws fails its attempt, which is retried while the job has retries: throw ``PermanentFailure``
    /// where a retry would not help, and ``RetryLater`` to say when. When its Swift task is cancelled it must return.
    public mutating func on<J: Job>(
        _ kind: J.Type, _ handle: @escaping @Sendable (J, JobContext) async throws -> J.Result
    ) {
        handler.add(kind, handle)
    }

    /// Adds a middleware: the first added is the outermost.
    public mutating func use(_ middleware: any JobMiddleware) { handler.middleware.append(middleware) }

    /// Runs until a graceful shutdown has drained it, or until it is cancelled.
    /// - Throws: ``Switchyard/SchedulerError/invalidInput(field:message:)`` for a bad id, kind or number of slots, or
    ///   without handlers.
    public func run() async throws {
        let kinds = handler.kinds
        guard !kinds.isEmpty else {
            throw SchedulerError.invalidInput(
                field: "kind",
                message: "worker \(id) of queue \(queue.name): expected a handler (worker.on(…)), found none")
        }
        for kind in kinds { _ = try Name.validate(kind, field: "kind") }
        var options = options
        options.labels += kinds.map(JobKind.label)
        options.only += kinds.map(JobKind.label)
        let worker = try Worker(
            id: id, queue: queue.name, client: queue.client, options: options, handler: handler, logger: logger)
        try await worker.run()
    }

    private static func generatedID() -> String {
        let host = ProcessInfo.processInfo.hostName.utf8.prefix(100).map { Name.isAllowed($0) ? $0 : UInt8(ascii: "-") }
        let name = host.isEmpty ? "worker" : String(decoding: host, as: UTF8.self)
        return "\(name)-\(ProcessInfo.processInfo.processIdentifier)-\(QueuedTask.randomID().prefix(6))"
    }
}

extension WorkerOptions {
    fileprivate func with(slots: Int) -> WorkerOptions {
        var options = self
        options.slots = slots
        return options
    }
}
