import Logging
import RedisClient
import ServiceLifecycle
import Synchronization

/// A replica of the scheduler: it calls ticks for the queues in Redis, and provides handles on them.
///
/// It has no state that another replica needs. Any number of replicas may run. Without any, tasks are still submitted,
/// pulled and finished, but time limits, delays, backoffs, schedules and lost workers wait until a replica is back.
public final class TaskScheduler: Service {
    /// The health of this replica.
    public let health = ReplicaHealth()
    /// The partitions of every queue.
    public let partitions: Partitions
    /// The settings that this replica was given.
    public let config: SchedulerConfig
    private let policy: PriorityPolicy
    private let logger: Logger
    private let handles = Mutex<[String: SchedulerHandle]>([:])
    /// Handles on queues that it does not serve, which may not exist: all who wait for a task share the handle's feed.
    private let visited = Mutex<[String: SchedulerHandle]>([:])
    private let discovered: AsyncStream<String>
    private let discover: AsyncStream<String>.Continuation
    /// The queues that it was given. If one of them has other partitions, the replica stops with an error.
    private let given: Set<String>
    /// Gets a value when Redis was looked at for a partition of a given queue.
    private let looks = AsyncStream.makeStream(of: Void.self)
    /// The addresses of the servers that are known to have the function library.
    private let prepared = Mutex<Set<String>>([])

    /// The maximum number of queues that a replica serves.
    private static let maxQueues = 1000
    /// How often it looks for queues that other replicas have registered.
    private static let discoveryInterval: Duration = .seconds(5)

    /// A replica for queues with one partition.
    /// - Parameters:
    ///   - client: shared, and shut down by its owner.
    ///   - queues: queues to serve from the start, besides those that are registered in Redis.
    ///   - config: settings that differ from the defaults are written to these queues when the replica starts.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad queue name.
    public convenience init(
        client: RedisClient, queues: [String] = ["default"], config: SchedulerConfig = SchedulerConfig(),
        policy: PriorityPolicy = PriorityPolicy(), logger: Logger = Logger(label: "switchyard.scheduler")
    ) throws(SchedulerError) {
        try self.init(
            partitions: Partitions(client), queues: queues, config: config, policy: policy, logger: logger)
    }

    /// A replica for queues with any number of partitions.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad queue name.
    public init(
        partitions: Partitions, queues: [String] = ["default"], config: SchedulerConfig = SchedulerConfig(),
        policy: PriorityPolicy = PriorityPolicy(), logger: Logger = Logger(label: "switchyard.scheduler")
    ) throws(SchedulerError) {
        self.partitions = partitions.watched()
        self.given = Set(queues)
        self.config = config
        self.policy = policy
        self.logger = logger
        (discovered, discover) = AsyncStream.makeStream()
        for queue in queues { try adopt(queue) }
    }

    /// Returns a handle on a queue. Reading a queue does not create it.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad queue name.
    public func handle(queue: String) throws(SchedulerError) -> SchedulerHandle {
        if let handle = handles.withLock({ $0[queue] }) ?? visited.withLock({ $0[queue] }) { return handle }
        let handle = try SchedulerHandle(queue: queue, partitions: partitions, policy: policy, logger: logger)
        return visited.withLock { visited in
            if visited.count >= Self.maxQueues { visited.removeAll() }
            if visited[queue] == nil { visited[queue] = handle }
            return visited[queue] ?? handle
        }
    }

    /// Calls `body` with a handle on a queue that it may create. If it succeeds, every replica serves the queue from
    /// now on. If it throws, nothing was created: the name may be mistyped.
    /// - Throws: what `body` throws, and ``SchedulerError``: for a bad name, for a queue too many, or if Redis is away.
    public func creating<Value>(
        queue: String, _ body: (SchedulerHandle) async throws -> Value
    ) async throws -> Value {
        if let handle = handles.withLock({ $0[queue] }) { return try await body(handle) }
        let name = try Name.validate(queue, field: "queue")
        guard handles.withLock({ $0.count }) < Self.maxQueues else {
            throw SchedulerError.invalidInput(
                field: "queue",
                message: "queue: there are \(Self.maxQueues) queues already, and \(name) is not one of them")
        }
        let handle = try handle(queue: name)
        // Partitions must know how many they are before the first task. They exist then, also without one.
        if partitions.count > 1 { _ = try await handle.all { try await self.partitions.join($0) } }
        let value = try await body(handle)
        do {
            try await register([name])
        } catch let error as SchedulerError where error.hadNoEffect {
            // `body` had one.
            throw error.afterAnEffect
        }
        try adopt(name)
        return value
    }

    /// The queues that this replica serves.
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

    /// Adds names to those of all queues, on the server that has their first partitions.
    private func register(_ queues: [String]) async throws {
        let command = RedisCommand("SADD", [.string(Keys.queues)], queues.map { .string($0) })
        let registry = partitions.functions(queue: "default", logger: logger)[0]
        _ = try await registry.reaching { try await $0.send(command) }
    }

    // MARK: Running

    /// Runs until cancelled, or until its service group shuts down.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` if a queue that it was given has other partitions, or
    ///   if the server has no functions.
    public func run() async throws {
        try await cancelWhenGracefulShutdown {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await self.registerQueues() }
                group.addTask { await self.discoverQueues() }
                group.addTask { try await self.lookAfterQueues() }
                for index in self.partitions.instances.indices {
                    group.addTask { await self.reviewServer(index) }
                }
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
                            // Ends the loop above, and so the replica.
                            self.discover.finish()
                            throw error
                        }
                    }
                }
            }
            for try await _ in group {}
        }
    }

    /// Serves one partition of a queue, once the partitions are checked.
    private func lookAfter(_ functions: QueueFunctions) async throws {
        let queue = functions.keys.queue
        do {
            try await prepare(functions)
            let replica = QueueReplica(
                functions: functions, partitions: partitions, interval: config.schedulerInterval,
                settings: given.contains(queue)
                    ? partitions.shares(of: config.changedSettings, in: functions.keys.partition) : [],
                health: health, logger: logger)
            try await replica.run()
        } catch let error as SchedulerError where !given.contains(queue) {
            // The queue was found in Redis and belongs to another farm.
            logger.error("this replica does not serve a queue", metadata: ["queue": "\(queue)", "error": "\(error)"])
        }
    }

    /// Waits until Redis was looked at for each partition of the queues that this replica was given: it serves them or,
    /// while Redis is away, waits for it. Call it once. It does not return if Redis is a wrong one.
    /// - Returns: false if the task is cancelled.
    package func waitUntilLookedAt() async -> Bool {
        var rest = given.count * partitions.count
        if rest == 0 { return true }
        for await _ in looks.stream {
            rest -= 1
            if rest == 0 { return true }
        }
        return false
    }

    /// Loads the function library and checks the partitions. Retries until it succeeds; meanwhile the health says why.
    /// - Throws: `invalidInput` if the partitions differ, the server has no functions, is a Redis replica, or it is a
    ///   Redis Cluster and was not given as one.
    private func prepare(_ functions: QueueFunctions) async throws {
        var backoff = Backoff(first: .milliseconds(200), limit: .seconds(1))
        var isLookedAt = !given.contains(functions.keys.queue)
        while !Task.isCancelled {
            defer {
                if !isLookedAt { looks.continuation.yield() }
                isLookedAt = true
            }
            do {
                try await partitions.checkKind(of: functions.client)
                try await loadLibrary(for: functions)
                try await partitions.join(functions)
                return
            } catch let error as SchedulerError where ["partitions", "redis"].contains(error.field) {
                isLookedAt = true
                throw error
            } catch {
                if Task.isCancelled {
                    isLookedAt = true
                    return
                }
                health.failed("cannot prepare Redis", queue: functions.keys.name, error: error, logger: logger)
            }
            // The sleep fails only when the task is cancelled, which ends the loop.
            try? await Task.sleep(for: backoff.nextDelay())
        }
    }

    /// Loads the library into the server that has the partition. In a Redis Cluster the review loads it into the rest.
    private func loadLibrary(for functions: QueueFunctions) async throws {
        let server = try await functions.client.primary(of: functions.keys.prefix)
        let address = server.configuration.endpoint.description
        if prepared.withLock({ $0.contains(address) }) { return }
        try await partitions.checkRole(of: server)
        try await FunctionLibrary(client: server, logger: logger).ensureLoaded()
        _ = prepared.withLock { $0.insert(address) }
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

    /// Looks for queues on every server: the first submission to a queue notes its name on the server that it was
    /// sent to.
    private func discoverQueues() async {
        var refused: Set<String> = []
        // The sleep fails only when the task is cancelled.
        while (try? await Task.sleep(for: Self.discoveryInterval)) != nil {
            for instance in partitions.instances {
                do {
                    let members = try await instance.send(RedisCommand("SMEMBERS", .string(Keys.queues))).array ?? []
                    let names = members.compactMap(\.string)
                    for queue in names.sorted() { adoptFound(queue, &refused) }
                    // In a Redis Cluster the list may be lost alone: it is on another primary than the queues.
                    let missing = Set(queues).subtracting(names)
                    if instance.isCluster, !missing.isEmpty { try await register(missing.sorted()) }
                } catch {
                    // The ticks log that Redis is away.
                    logger.debug("could not look for queues", metadata: ["error": "\(error)"])
                }
            }
        }
    }

    /// Serves a queue whose name was found in Redis. A name that is invalid, or one too many, is skipped, which is
    /// logged once.
    private func adoptFound(_ queue: String, _ refused: inout Set<String>) {
        do {
            if handles.withLock({ $0[queue] == nil && $0.count >= Self.maxQueues }) {
                throw SchedulerError.invalidInput(
                    field: "queue", message: "queue: this replica serves \(Self.maxQueues) queues already")
            }
            try adopt(queue)
        } catch {
            guard refused.count < Self.maxQueues, refused.insert(queue).inserted else { return }
            logger.error(
                "\(Keys.queues) has a name that this replica does not serve",
                metadata: ["queue": "\(Name.shown(queue))", "error": "\(error)"])
        }
    }

    // MARK: The Redis servers

    /// How often the settings, the memory and the rights on a Redis server are looked at.
    private static let reviewInterval: Duration = .seconds(60)

    private func reviewServer(_ index: Int) async {
        while !Task.isCancelled {
            var pause = Self.reviewInterval
            do {
                let instance = partitions.instances[index]
                var findings: [ServerFinding]
                if instance.isCluster {
                    // A node may have joined without it.
                    try await FunctionLibrary(client: instance, logger: logger).ensureLoaded()
                    let review = ClusterReview(instance)
                    findings = try await review.findings() + review.rights(on: "default", logger: logger)
                    for queue in queues { findings.append(try await ClusterReview.spread(of: queue, partitions)) }
                } else {
                    let functions = QueueFunctions(queue: "default", client: instance, logger: logger)
                    findings = try await ServerReview(instance).findings() + [ServerReview.rights(functions)]
                }
                health.reviewed(server: index, findings.filter { $0.level != .ok }, logger: logger)
            } catch {
                // The ticks log that Redis is away.
                logger.debug("could not look at the server", metadata: ["redis": "\(index + 1)", "error": "\(error)"])
                pause = .seconds(2)
            }
            // The sleep fails only when the task is cancelled, which ends the loop.
            try? await Task.sleep(for: pause)
        }
    }
}
