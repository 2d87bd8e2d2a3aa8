import Logging
import RedisClient
import ServiceLifecycle
import Switchyard
import Synchronization

/// Takes tasks from one queue and runs them with a ``TaskHandler``.
///
/// A graceful shutdown drains it: no new tasks, and it leaves when the last attempt has been reported. How it serves its
/// queue is told in ``QueueLoop``: one for each partition of the queue, sharing the slots (``SlotBudget``).
public final class Worker: Service {
    private let loops: [QueueLoop]

    /// How often it looks for calls that are not answered: what they hold is to be free again within a second or two.
    private static let recallInterval: Duration = .milliseconds(500)

    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad id, queue, number of slots or resource.
    public convenience init(
        id: String, queue: String, client: RedisClient, options: WorkerOptions, handler: any TaskHandler,
        logger: Logger = Logger(label: "switchyard.worker")
    ) throws(SchedulerError) {
        try self.init(
            id: id, queue: queue, partitions: Partitions(client), options: options, handler: handler, logger: logger)
    }

    /// A worker of a queue that may be spread over several partitions.
    public init(
        id: String, queue: String, partitions: Partitions, options: WorkerOptions, handler: any TaskHandler,
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
        registration.only = options.only
        registration.resources = options.resources
        registration.host = options.host
        registration.processID = options.processID
        let budget =
            partitions.count > 1 ? SlotBudget(slots: options.slots, partitions: partitions.count) : nil
        let drain = DrainOrder()
        var loops: [QueueLoop] = []
        let nonce = QueuedTask.randomID()
        for functions in partitions.functions(queue: try Name.validate(queue, field: "queue"), logger: logger) {
            let partition = functions.keys.partition
            loops.append(
                QueueLoop(
                    link: try WorkerProtocol(worker: id, nonce: nonce, functions: functions), partitions: partitions,
                    grant: budget.map { SlotGrant(budget: $0, partition: partition) }, registration: registration,
                    takesTogether: options.takesGroupsTogether, handler: handler, logger: logger,
                    onDrain: { drain.give() }))
        }
        drain.setLoops(loops)
        self.loops = loops
    }

    /// Runs until drained: by a graceful shutdown, by ``drain()``, or by the scheduler's order. Cancelled, it stops its
    /// attempts and leaves.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` when the queue has other partitions than this worker was
    ///   told.
    public func run() async throws {
        guard loops.count > 1 else { return try await loops[0].run() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for loop in loops { group.addTask { try await loop.run() } }
            let recall = Task {
                while (try? await Task.sleep(for: Self.recallInterval)) != nil {
                    for loop in loops { loop.table.recall() }
                }
            }
            defer { recall.cancel() }
            try await group.waitForAll()
        }
    }

    /// Takes no more tasks; `run` returns when the last attempt has been reported.
    public func drain() {
        loops[0].drain()
    }
}

/// The order to drain, which one partition hears and all obey. The worker owns its loops, and each knows of this order.
private final class DrainOrder: Sendable {
    private struct Hearer: Sendable {
        weak let loop: QueueLoop?
    }

    private let hearers = Mutex<[Hearer]>([])

    func setLoops(_ loops: [QueueLoop]) { hearers.withLock { $0 = loops.map(Hearer.init) } }
    func give() { for hearer in hearers.withLock({ $0 }) { hearer.loop?.beginToDrain() } }
}
