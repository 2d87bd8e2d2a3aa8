import RedisClient

// Which partitions of the queue a call goes to. The name of a task, batch or schedule has a home: the partition that
// its hash selects. Most names are at home. The others were submitted with a batch, a key or a dependency that has
// another home. They are found by a call to each partition, beginning at home.

extension SchedulerHandle {
    /// Returns the partitions in the order in which `name` is searched.
    private func order(for name: String) -> [Int] {
        let home = partitions.home(of: name)
        return (0..<partitions.count).map { (home + $0) % partitions.count }
    }

    /// Calls `ask` for one partition after the other until one has `name`.
    /// - Throws: what `ask` throws; `taskNotFound` if every partition threw that.
    func find<Answer>(_ name: String, _ ask: (QueueFunctions) async throws -> Answer) async throws -> Answer {
        var refusal: SchedulerError?
        for index in order(for: name) {
            do {
                return try await ask(functions[index])
            } catch let error as SchedulerError {
                guard case .taskNotFound = error else { throw error }
                refusal = refusal ?? error
            }
        }
        throw refusal ?? .taskNotFound(message: "\(name) does not exist in queue \(queue)")
    }

    /// Calls `ask` for all partitions concurrently, and returns the replies in the order of the partitions.
    func all<Answer: Sendable>(
        _ ask: @escaping @Sendable (QueueFunctions) async throws -> Answer
    ) async throws -> [Answer] {
        if functions.count == 1 { return [try await ask(functions[0])] }
        return try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for (index, functions) in functions.enumerated() {
                group.addTask { (index, try await ask(functions)) }
            }
            var replies: [(Int, Answer)] = []
            for try await reply in group { replies.append(reply) }
            return replies.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// A task, and the partition that has it.
    typealias Located = (task: QueuedTask, partition: Int)

    /// Returns the task and its partition.
    /// - Throws: `taskNotFound`.
    func locate(_ id: String) async throws -> Located {
        guard let found = try await locate([id]).first ?? nil else {
            throw SchedulerError.taskNotFound(
                message: "task \(id) does not exist in queue \(queue), or was deleted after its retention")
        }
        return found
    }

    /// Returns the tasks and their partitions in the order of `ids`, nil for an unknown id.
    func locate(_ ids: [String]) async throws -> [Located?] {
        for id in ids { _ = try Name.validate(id, field: "task_id") }
        var found = [Located?](repeating: nil, count: ids.count)
        var missing = Array(ids.indices)
        // First every id is searched at home, then the missing ones in the next partition, and so on.
        for distance in 0..<partitions.count where !missing.isEmpty {
            let groups = Dictionary(grouping: missing) {
                (partitions.home(of: ids[$0]) + distance) % partitions.count
            }
            for (partition, asked) in groups {
                let tasks = try await functions[partition].tasks(asked.map { ids[$0] })
                for case (let index, let task?) in zip(asked, tasks) { found[index] = (task, partition) }
            }
            missing.removeAll { found[$0] != nil }
        }
        return found
    }

    /// Returns the functions of the partition that has the task, or of the task's home if none has it.
    func functions(of id: String) async throws -> QueueFunctions {
        guard partitions.count > 1 else { return functions[0] }
        for index in order(for: id) where try await functions[index].exists([functions[index].keys.task(id)]) {
            return functions[index]
        }
        return functions[partitions.home(of: id)]
    }
}

extension QueueFunctions {
    /// Returns the tasks of this partition in the order of `ids`, nil for an unknown id. Large ones take several calls.
    func tasks(_ ids: [String]) async throws -> [QueuedTask?] {
        var tasks: [QueuedTask?] = []
        while tasks.count < ids.count {
            let rest = ids[tasks.count...]
            let names = rest.flatMap { ["task", .string($0)] as [RedisArgument] }
            let reply = try await call("get", names, traffic: .bulk)
            let values = (reply.array ?? []).prefix { $0.error?.code != "TOOLARGE" }
            guard !values.isEmpty else {
                throw SchedulerError.internal(
                    message: "switchyard_get returned none of \(rest.count) tasks", redisAway: false)
            }
            tasks += try values.map { try $0.isNull ? nil : QueuedTask(ReplyFields($0)) }
        }
        return tasks
    }

    /// Whether any of these keys exists.
    func exists(_ keys: [String], deadline: Duration? = nil) async throws -> Bool {
        let command = RedisCommand("EXISTS", keys.map { .string($0) })
        return try await reaching { try await $0.send(command, deadline: deadline).int != 0 }
    }
}
