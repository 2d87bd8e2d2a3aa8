import Logging
import RedisClient
import ServiceLifecycle
import Switchyard
import Synchronization

/// Pulls tasks from one queue and runs them with a ``TaskHandler``.
///
/// A graceful shutdown drains the worker: it pulls no more tasks, and deregisters when its last attempt has been
/// reported, or handed back after ``WorkerOptions/drainTimeout``. It runs one ``QueueLoop`` for each partition of the
/// queue; these share the slots (``SlotBudget``).
public final class Worker: Service {
    private let loops: [QueueLoop]

    /// How often the worker looks for calls without a reply: other partitions get the slots of these within two
    /// seconds.
    private static let recallInterval: Duration = .milliseconds(500)

    /// Creates a worker of a queue that has one partition.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` if an id, queue, number of slots, label or
    ///   resource is not valid.
    public convenience init(
        id: String, queue: String, client: RedisClient, options: WorkerOptions, handler: any TaskHandler,
        logger: Logger = Logger(label: "switchyard.worker")
    ) throws(SchedulerError) {
        try self.init(
            id: id, queue: queue, partitions: Partitions(client), options: options, handler: handler, logger: logger)
    }

    /// Creates a worker of a queue that may be spread over several partitions.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` if an id, queue, number of slots, label or
    ///   resource is not valid.
    public init(
        id: String, queue: String, partitions: Partitions, options: WorkerOptions, handler: any TaskHandler,
        logger: Logger = Logger(label: "switchyard.worker")
    ) throws(SchedulerError) {
        guard (1...1000).contains(options.slots) else {
            throw .invalidInput(field: "slots", message: "slots: expected 1 to 1000, found \(options.slots)")
        }
        try options.resources.check(path: "resources.")
        try options.checkLabels()
        var logger = logger
        logger[metadataKey: "worker_id"] = "\(id)"
        var registration = WorkerClient.Registration(slots: options.slots)
        registration.labels = options.labels
        registration.only = options.only
        registration.resources = options.resources
        registration.host = options.host
        registration.processID = options.processID
        let budget =
            partitions.count > 1 ? SlotBudget(slots: options.slots, partitions: partitions.count) : nil
        let drain = DrainOrder()
        let host = HostHealth(firstPause: options.setAsidePause)
        var loops: [QueueLoop] = []
        let nonce = QueuedTask.randomID()
        for functions in partitions.functions(queue: try Name.validate(queue, field: "queue"), logger: logger) {
            let partition = functions.keys.partition
            loops.append(
                QueueLoop(
                    link: try WorkerClient(worker: id, nonce: nonce, functions: functions), partitions: partitions,
                    grant: budget.map { SlotGrant(budget: $0, partition: partition) }, registration: registration,
                    options: options, handler: handler, host: host, logger: logger,
                    onDrain: { drain.send() }))
        }
        drain.setLoops(loops)
        self.loops = loops
    }

    /// Runs until the worker has drained: after a graceful shutdown, after ``drain()``, or when the scheduler asks it
    /// to. If cancelled, it stops its attempts and deregisters.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` if the queue has other partitions than this worker was
    ///   given, or refuses to register it; ``SchedulerError/workerNotFound(message:)`` if another process has
    ///   registered with the worker's id.
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

    /// Pulls no more tasks; `run` returns when the last attempt has been reported.
    public func drain() {
        loops[0].drain()
    }

    /// Drains, and waits for no attempt any longer: all are told to end, and handed back once they have. They use up no
    /// retry. `run` returns then.
    public func handBack() {
        drain()
        for loop in loops { loop.handBackAll() }
    }
}

/// Passes the order to drain, which the loop of one partition receives, to the loops of all partitions. Each loop
/// refers to it, so its references to the loops are weak.
private final class DrainOrder: Sendable {
    private struct WeakLoop: Sendable {
        weak let loop: QueueLoop?
    }

    private let targets = Mutex<[WeakLoop]>([])

    func setLoops(_ loops: [QueueLoop]) { targets.withLock { $0 = loops.map(WeakLoop.init) } }
    func send() { for target in targets.withLock({ $0 }) { target.loop?.beginToDrain() } }
}
