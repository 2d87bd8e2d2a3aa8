import RedisClient

// Before a process serves a queue, it checks that it has the partitions of the queue. With others it would miss tasks,
// or look for ids in the wrong partition. The number of partitions is stored in the `config` of each partition. The
// process is refused if the number differs, or if a Redis server has a partition that it should not have, unless there
// are no tasks and no schedules that could be missed.
//
// In a Redis Cluster the names of the partitions depend on their number, so that a process with another number does not
// even look at the same partitions. It is refused in the same way: no partition that is not its own may have any.

extension Partitions {
    /// Checks one partition, and stores the number of partitions in it if it is new. Calls only the Redis server that
    /// has the partition.
    /// - Parameter mayChange: whether the number of a queue without tasks may be changed. Replicas may; workers follow
    ///   them.
    /// - Throws: `invalidInput` with the field `partitions` if the partitions differ.
    package func join(_ functions: QueueFunctions, mayChange: Bool = true) async throws {
        try await checkKind(of: functions.client)
        if areInCluster {
            try await checkFirst(beside: functions, mayChange: mayChange)
            try await checkOthers(beside: functions)
        } else if functions.keys.partition < instances.count {
            // Once for each server.
            try await checkOthers(beside: functions)
        }
        let settings = try await functions.configure([])
        try await functions.nameChannels(foundDatabase: settings["database"])
        let stored = settings["partitions"] ?? 1
        guard stored != count else { return }
        let isNew = settings["instance"] == nil
        if !mayChange, !isNew, let error = mismatch(stored, functions) { throw error }
        do {
            try await functions.configure([
                ("partitions", count),
                (
                    SchedulerHandle.lengthLimit,
                    share(of: SchedulerConfig().maxQueueLength, in: functions.keys.partition)
                ),
            ])
        } catch SchedulerError.invalidInput(let field, let message) {
            throw SchedulerError.invalidInput(
                field: field,
                message: "\(message). This program was started for \(count) (one for each --redis, or --partitions)")
        }
    }

    /// Returns an error if the stored number of partitions is another, or nil.
    package func mismatch(_ stored: Int, _ functions: QueueFunctions) -> SchedulerError? {
        guard stored != count else { return nil }
        return .invalidInput(
            field: "partitions",
            message:
                "partitions: queue \(functions.keys.queue) has \(stored), and this program was started for \(count) "
                + "(one for each --redis, or --partitions)")
    }

    /// Checks the number that the first partition has: in a Redis Cluster, with another number this partition would be
    /// a new one.
    /// - Throws: `invalidInput` with the field `partitions` if the number is another, and may not be changed.
    private func checkFirst(beside functions: QueueFunctions, mayChange: Bool) async throws {
        guard functions.keys.partition > 0, let stored = try await storedCount(of: functions.keys.queue),
            let error = mismatch(stored, functions)
        else { return }
        if !mayChange { throw error }
        if try await QueueFunctions(queue: functions.keys.queue, number: 0, like: functions).content() != nil {
            throw error
        }
    }

    /// Returns the number of partitions that a queue has according to its first one; nil if there is no such queue.
    package func storedCount(of queue: String) async throws -> Int? {
        do {
            let config = RedisArgument.string(Keys(queue: queue).config)
            let reply = try await instances[0].send(RedisCommand("HMGET", config, "instance", "partitions"))
            guard let values = reply.array, values.count == 2, !values[0].isNull else { return nil }
            return values[1].string.flatMap { Int($0) } ?? 1
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    /// Checks that the Redis server has no tasks and no schedules of a partition that belongs to another server, or to
    /// none.
    /// - Throws: `invalidInput` with the field `partitions` if it has.
    private func checkOthers(beside functions: QueueFunctions) async throws {
        let instance = functions.keys.partition
        let queue = functions.keys.queue
        let found = try await withThrowingTaskGroup(of: Int?.self) { group in
            for number in strangers(of: queue, on: instance) {
                let keys = Keys(queue: queue, number: number)
                group.addTask { try await functions.exists([keys.config]) ? number : nil }
            }
            return try await group.reduce(into: [Int]()) { found, number in if let number { found.append(number) } }
        }
        for number in found.sorted() {
            let stranger = QueueFunctions(queue: queue, number: number, like: functions)
            guard let content = try await stranger.content() else { continue }
            let stored = try await stranger.configure([])["partitions"] ?? 1
            let place =
                areInCluster
                ? "the Redis Cluster has \(content) in {\(stranger.keys.name)}, a partition"
                : "Redis server \(instance + 1) of \(instances.count) has \(content) of partition \(number)"
            throw SchedulerError.invalidInput(
                field: "partitions",
                message:
                    "partitions: \(place) of queue \(queue), which has \(stored) partitions, and this program was "
                    + "started for \(count): expected the same servers in the same order, and the same number of "
                    + "partitions")
        }
    }

    /// The numbers of partitions that this process does not look for on a server.
    private func strangers(of queue: String, on instance: Int) -> [Int] {
        if areInCluster { return Array(Set(1...PartitionNames.largest).subtracting(numbers(of: queue))) }
        return (0..<Self.most).filter { $0 >= count || self.instance(of: $0) != instance }
    }

    /// Checks that a Redis Cluster was given as one, and a server that is no Cluster as a server. Functions would call
    /// a part of the queues only, or publish to nobody.
    /// - Throws: `invalidInput` with the field `redis` if it was not.
    package func checkKind(of client: RedisClient) async throws {
        do {
            if let problem = try await ServerKind.problem(of: client) {
                throw SchedulerError.invalidInput(field: "redis", message: "redis: \(problem)")
            }
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    /// Checks that a server is no Redis replica. For a process that starts: later, a failover may pass.
    /// - Throws: `invalidInput` with the field `redis` if it is one.
    package func checkRole(of client: RedisClient) async throws {
        do {
            if let problem = try await ServerKind.roleProblem(of: client) {
                throw SchedulerError.invalidInput(field: "redis", message: "redis: \(problem)")
            }
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }
}

extension QueueFunctions {
    /// Tells the functions in which database they run, which they cannot see, so that they publish on its channels.
    /// - Parameter foundDatabase: the database that the queue's `config` names; nil: an older library has no such
    ///   setting.
    func nameChannels(foundDatabase: Int?) async throws {
        let database = client.configuration.database
        guard let foundDatabase, foundDatabase != database else { return }
        try await configure([("database", database)])
    }

    /// The functions of another partition of the same queue on the same Redis server.
    fileprivate init(queue: String, number: Int, like other: QueueFunctions) {
        self.init(
            queue: queue, partition: number, number: number, client: other.client, presence: other.presence,
            logger: other.library.logger)
    }

    /// What the partition has that must not be missed: tasks, including ended tasks that are still kept, or schedules.
    fileprivate func content() async throws -> String? {
        let fields = try ReplyFields(await call("stats", []))
        let counts = ["pending", "held", "waiting", "blocked", "running", "assigned", "finished"]
        if counts.contains(where: { fields.int($0) > 0 }) { return "tasks" }
        return try await exists([keys.prefix + "schedules"]) ? "schedules" : nil
    }
}
