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
    public let partitions: Partitions
    public let config: SchedulerConfig
    private let policy: PriorityPolicy
    private let logger: Logger
    private let handles = Mutex<[String: SchedulerHandle]>([:])
    private let discovered: AsyncStream<String>
    private let discover: AsyncStream<String>.Continuation
    /// The queues that it was given: to disagree with one of them about its partitions ends the replica.
    private let given: Set<String>
    /// The instances that are known to have the function library.
    private let prepared = Mutex<Set<Int>>([])

    /// A replica looks after this many queues at most.
    private static let maxQueues = 1000
    /// How often it looks for queues that other replicas were first to hear of.
    private static let discoveryInterval: Duration = .seconds(5)

    /// - Parameters:
    ///   - client: shared, and shut down by its owner.
    ///   - queues: queues to look after from the start, besides those that Redis tells of.
    ///   - config: the settings that differ from the defaults are written to these queues when the replica starts.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad queue name.
    public convenience init(
        client: RedisClient, queues: [String] = ["default"], config: SchedulerConfig = SchedulerConfig(),
        policy: PriorityPolicy = PriorityPolicy(), logger: Logger = Logger(label: "switchyard.scheduler")
    ) throws(SchedulerError) {
        try self.init(
            partitions: Partitions(client), queues: queues, config: config, policy: policy, logger: logger)
    }

    /// A replica of queues that may be spread over several partitions.
    public init(
        partitions: Partitions, queues: [String] = ["default"], config: SchedulerConfig = SchedulerConfig(),
        policy: PriorityPolicy = PriorityPolicy(), logger: Logger = Logger(label: "switchyard.scheduler")
    ) throws(SchedulerError) {
        self.partitions = partitions
        self.given = Set(queues)
        self.config = config
        self.policy = policy
        self.logger = logger
        (discovered, discover) = AsyncStream.makeStream()
        for queue in queues { try adopt(queue) }
    }

    /// A handle on a queue. Looking at a queue does not create it.
    public func handle(queue: String) throws(SchedulerError) -> SchedulerHandle {
        if let handle = handles.withLock({ $0[queue] }) { return handle }
        return try SchedulerHandle(queue: queue, partitions: partitions, policy: policy, logger: logger)
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
        let handle = try SchedulerHandle(queue: name, partitions: partitions, policy: policy, logger: logger)
        if partitions.count > 1 { _ = try await handle.all { try await self.partitions.join($0) } }
        try await register([name])
        return try adopt(name)
    }

    /// The queues that this replica looks after.
    public var queues: [String] { handles.withLock { $0.keys.sorted() } }

    @discardableResult
    private func adopt(_ queue: String) throws(SchedulerError) -> SchedulerHandle {
        let handle = try SchedulerHandle(queue: queue, partitions: partitions, policy: policy, logger: logger)
        let isNew = handles.withLock { handles in
            guard handles[queue] == nil else { return false }
            handles[queue] = handle
            return true
        }
        if isNew { discover.yield(queue) }
        return handle
    }

    /// The instance that has the names of all queues: that of their first partitions.
    private var registry: RedisClient { partitions.instances[0] }

    private func register(_ queues: [String]) async throws {
        do {
            _ = try await registry.send(
                RedisCommand("SADD", [.string(Keys.queues)], queues.map { .string($0) }))
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    // MARK: Running

    /// Runs until cancelled, or until its service group shuts down.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` when a queue that it was given has other partitions.
    public func run() async throws {
        try await cancelWhenGracefulShutdown {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await self.registerQueues() }
                group.addTask { await self.discoverQueues() }
                group.addTask { try await self.lookAfterQueues() }
                for try await _ in group {}
            }
        }
    }

    private func lookAfterQueues() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for await queue in discovered {
                guard let handle = handles.withLock({ $0[queue] }) else { continue }
                for functions in handle.functions {
                    group.addTask {
                        do {
                            try await self.lookAfter(functions)
                        } catch {
                            // Ends the loop, and with it the replica.
                            self.discover.finish()
                            throw error
                        }
                    }
                }
            }
            for try await _ in group {}
        }
    }

    /// Makes time pass for one partition of a queue, once both agree.
    private func lookAfter(_ functions: QueueFunctions) async throws {
        let queue = functions.keys.queue
        do {
            try await prepare(functions)
            let replica = QueueReplica(
                functions: functions, partitions: partitions, interval: config.schedulerInterval, health: health,
                logger: logger)
            try await replica.run()
        } catch let error as SchedulerError where !given.contains(queue) {
            // Found in Redis, and of another farm: this replica serves its own.
            logger.error("a queue is not looked after here", metadata: ["queue": "\(queue)", "error": "\(error)"])
        }
    }

    /// Loads the function library, agrees about the partitions, and writes the settings that this replica was given; until
    /// it succeeds.
    /// - Throws: `invalidInput`.
    private func prepare(_ functions: QueueFunctions) async throws {
        let index = functions.keys.partition
        while !Task.isCancelled {
            do {
                try await loadLibrary(on: partitions.instance(of: index))
                try await partitions.join(functions)
                let settings = given.contains(functions.keys.queue) ? config.changedSettings : []
                if !settings.isEmpty { try await functions.configure(partitions.shares(of: settings, in: index)) }
                return
            } catch let error as SchedulerError where error.field == "partitions" {
                throw error
            } catch {
                if Task.isCancelled { return }
                logger.error(
                    "cannot prepare Redis yet", metadata: ["queue": "\(functions.keys.place)", "error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func loadLibrary(on instance: Int) async throws {
        if prepared.withLock({ $0.contains(instance) }) { return }
        try await FunctionLibrary(client: partitions.instances[instance], logger: logger).ensureLoaded()
        _ = prepared.withLock { $0.insert(instance) }
    }

    private func registerQueues() async {
        while !Task.isCancelled {
            do {
                return try await register(queues)
            } catch {
                logger.debug("cannot register the queues yet", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func discoverQueues() async {
        while (try? await Task.sleep(for: Self.discoveryInterval)) != nil {
            do {
                let members = try await registry.send(RedisCommand("SMEMBERS", .string(Keys.queues))).array ?? []
                for queue in members.compactMap(\.string).prefix(Self.maxQueues) { try adopt(queue) }
            } catch {
                // The ticks say it when Redis is away.
                logger.debug("could not look for queues", metadata: ["error": "\(error)"])
            }
        }
    }
}
