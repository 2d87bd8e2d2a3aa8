import Logging
import RedisClient
import ServiceLifecycle
import Synchronization

/// A replica of the scheduler: it makes time pass for the queues in Redis, and gives handles on them.
///
/// It holds no state that another replica would need. Any number may run, also none for a while: tasks are still
/// submitted, pulled and finished, only timeouts, retries and lost workers wait until one is back.
public final class TaskScheduler: Service {
    public let health = ReplicaHealth()
    public let client: RedisClient
    public let config: SchedulerConfig
    private let policy: PriorityPolicy
    private let logger: Logger
    private let handles = Mutex<[String: SchedulerHandle]>([:])
    private let discovered: AsyncStream<String>
    private let discover: AsyncStream<String>.Continuation

    /// A replica looks after this many queues at most.
    private static let maxQueues = 1000
    /// How often it looks for queues that other replicas were first to hear of.
    private static let discoveryInterval: Duration = .seconds(5)

    /// - Parameters:
    ///   - client: shared, and shut down by its owner.
    ///   - queues: queues to look after from the start, besides those that Redis tells of.
    ///   - config: the settings that differ from the defaults are written to these queues when the replica starts.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad queue name.
    public init(
        client: RedisClient, queues: [String] = ["default"], config: SchedulerConfig = SchedulerConfig(),
        policy: PriorityPolicy = PriorityPolicy(), logger: Logger = Logger(label: "switchyard.scheduler")
    ) throws(SchedulerError) {
        self.client = client
        self.config = config
        self.policy = policy
        self.logger = logger
        (discovered, discover) = AsyncStream.makeStream()
        for queue in queues { try adopt(queue) }
    }

    /// A handle on a queue. Looking at a queue does not create it.
    public func handle(queue: String) throws(SchedulerError) -> SchedulerHandle {
        if let handle = handles.withLock({ $0[queue] }) { return handle }
        return try SchedulerHandle(queue: queue, client: client, policy: policy, logger: logger)
    }

    /// A handle on a queue that is to be looked after from now on, by every replica.
    /// - Throws: ``SchedulerError``.
    public func handleForSubmitting(queue: String) async throws -> SchedulerHandle {
        if let handle = handles.withLock({ $0[queue] }) { return handle }
        let name = try Name.validate(queue, field: "queue")
        guard handles.withLock({ $0.count }) < Self.maxQueues else {
            throw SchedulerError.invalidInput(
                field: "queue",
                message: "queue: there are \(Self.maxQueues) queues already, and \(name) is not one of them")
        }
        try await register([name])
        return try adopt(name)
    }

    /// The queues that this replica looks after.
    public var queues: [String] { handles.withLock { $0.keys.sorted() } }

    @discardableResult
    private func adopt(_ queue: String) throws(SchedulerError) -> SchedulerHandle {
        let handle = try SchedulerHandle(queue: queue, client: client, policy: policy, logger: logger)
        let isNew = handles.withLock { handles in
            guard handles[queue] == nil else { return false }
            handles[queue] = handle
            return true
        }
        if isNew { discover.yield(queue) }
        return handle
    }

    private func register(_ queues: [String]) async throws {
        do {
            _ = try await client.send(
                RedisCommand("SADD", [.string(Keys.queues)], queues.map { .string($0) }))
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    // MARK: Running

    /// Runs until cancelled, or until its service group shuts down.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.prepare() }
                group.addTask { await self.discoverQueues() }
                for await queue in self.discovered {
                    guard let handle = self.handles.withLock({ $0[queue] }) else { continue }
                    let replica = QueueReplica(
                        handle: handle, interval: self.config.schedulerInterval, health: self.health,
                        logger: self.logger)
                    group.addTask { await replica.run() }
                }
            }
        }
    }

    /// Loads the function library, and writes the settings that this replica was given; until it succeeds.
    private func prepare() async {
        let library = FunctionLibrary(client: client, logger: logger)
        while !Task.isCancelled {
            do {
                try await library.ensureLoaded()
                try await register(queues)
                let settings = config.changedSettings
                for queue in queues where !settings.isEmpty {
                    try await handle(queue: queue).configure(settings)
                }
                return
            } catch {
                if Task.isCancelled { return }
                logger.error("cannot prepare Redis yet", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func discoverQueues() async {
        while (try? await Task.sleep(for: Self.discoveryInterval)) != nil {
            do {
                let members = try await client.send(RedisCommand("SMEMBERS", .string(Keys.queues))).array ?? []
                for queue in members.compactMap(\.string).prefix(Self.maxQueues) { try adopt(queue) }
            } catch {
                // The ticks say it when Redis is away.
                logger.debug("could not look for queues", metadata: ["error": "\(error)"])
            }
        }
    }
}
