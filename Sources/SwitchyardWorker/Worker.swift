import Logging
import RedisClient
import ServiceLifecycle
import Switchyard

/// Takes tasks from one queue and runs them with a ``TaskHandler``.
///
/// A graceful shutdown drains it: no new tasks, and it leaves when the last attempt has been reported. How it serves its
/// queue is told in ``QueueLoop``.
public final class Worker: Service {
    private let loop: QueueLoop

    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad id, queue, number of slots or resource.
    public init(
        id: String, queue: String, client: RedisClient, options: WorkerOptions, handler: any TaskHandler,
        logger: Logger = Logger(label: "switchyard.worker")
    ) throws(SchedulerError) {
        guard (1...1000).contains(options.slots) else {
            throw .invalidInput(field: "slots", message: "slots: expected 1 to 1000, found \(options.slots)")
        }
        try options.resources.check(path: "resources.")
        var logger = logger
        logger[metadataKey: "worker_id"] = "\(id)"
        var registration = WorkerProtocol.Registration(slots: options.slots)
        registration.labels = options.labels
        registration.resources = options.resources
        registration.host = options.host
        registration.processID = options.processID
        loop = QueueLoop(
            link: try WorkerProtocol(worker: id, queue: queue, client: client, logger: logger),
            registration: registration, takesTogether: options.takesGroupsTogether, handler: handler, logger: logger)
    }

    /// Runs until drained: by a graceful shutdown, by ``drain()``, or by the scheduler's order. Cancelled, it stops its
    /// attempts and leaves.
    public func run() async throws {
        await loop.run()
    }

    /// Takes no more tasks; `run` returns when the last attempt has been reported.
    public func drain() {
        loop.drain()
    }
}
