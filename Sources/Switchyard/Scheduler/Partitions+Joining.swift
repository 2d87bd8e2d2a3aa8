import RedisClient

// Before a process serves a queue it sees that both mean the same partitions: with other ones it would miss tasks, or spread
// ids differently. The number is remembered with each partition; where it differs, or where an instance has a partition that
// should not be there, the process is refused, unless there are no tasks yet to be missed.

extension Partitions {
    /// Agrees with the queue about one of its partitions; asks only the instance that has it.
    /// - Parameter mayChange: whether the number of a queue that has no tasks may be changed: workers follow replicas.
    /// - Throws: `invalidInput` with the field `partitions` when they disagree.
    public func join(_ functions: QueueFunctions, mayChange: Bool = true) async throws {
        // Once for each instance.
        if functions.keys.partition < instances.count { try await checkOthers(beside: functions) }
        let settings = try await functions.configure([])
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

    /// The error that says so when the number that is stored is another.
    public func mismatch(_ stored: Int, _ functions: QueueFunctions) -> SchedulerError? {
        guard stored != count else { return nil }
        return .invalidInput(
            field: "partitions",
            message:
                "partitions: queue \(functions.keys.queue) has \(stored), and this program was started for \(count) "
                + "(one for each --redis, or --partitions)")
    }

    /// Refuses an instance that has tasks of a partition which belongs to another instance, or to none.
    private func checkOthers(beside functions: QueueFunctions) async throws {
        let instance = functions.keys.partition
        let queue = functions.keys.queue
        let strangers = (0..<Self.most).filter { $0 >= count || self.instance(of: $0) != instance }
        let found = try await withThrowingTaskGroup(of: Int?.self) { group in
            for index in strangers {
                let keys = Keys(queue: queue, partition: index)
                group.addTask { try await functions.exists([keys.config]) ? index : nil }
            }
            return try await group.reduce(into: [Int]()) { found, index in if let index { found.append(index) } }
        }
        for index in found.sorted() {
            let stranger = QueueFunctions(queue: queue, partition: index, like: functions)
            guard try await stranger.hasTasks() else { continue }
            let stored = try await stranger.configure([])["partitions"] ?? 1
            throw SchedulerError.invalidInput(
                field: "partitions",
                message:
                    "partitions: Redis instance \(instance + 1) of \(instances.count) has tasks of partition \(index) of "
                    + "queue \(queue), which was made with \(stored), and this program was started for \(count): expected "
                    + "the same instances in the same order, and the same number of partitions")
        }
    }
}

extension QueueFunctions {
    /// Another partition of the same queue on the same instance.
    fileprivate init(queue: String, partition: Int, like other: QueueFunctions) {
        self.init(queue: queue, partition: partition, client: other.client, logger: other.library.logger)
    }

    /// Ended ones that are still kept count too.
    fileprivate func hasTasks() async throws -> Bool {
        let fields = try ReplyFields(await call("stats", []))
        return ["pending", "held", "waiting", "blocked", "running", "assigned", "finished"].contains {
            fields.int($0) > 0
        }
    }
}
