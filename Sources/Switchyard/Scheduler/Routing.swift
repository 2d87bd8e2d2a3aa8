import RedisClient

// To which partitions of the queue a call goes. A name (of a task, a batch, a schedule) has a home: the partition that its
// hash tells. Most are there; the others (what came with a batch, a key or a dependency that has another home) are found by
// asking one partition after the other, beginning at home.

extension SchedulerHandle {
    /// The partitions in the order in which `name` is looked for.
    private func order(for name: String) -> [Int] {
        let home = partitions.home(of: name)
        return (0..<partitions.count).map { (home + $0) % partitions.count }
    }

    /// Asks for `name` where it may be, until a partition has it.
    /// - Throws: what `ask` throws; `taskNotFound` when every partition did.
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

    /// The answers of all partitions, in their order: asked at once.
    func all<Answer: Sendable>(
        _ ask: @escaping @Sendable (QueueFunctions) async throws -> Answer
    ) async throws -> [Answer] {
        if functions.count == 1 { return [try await ask(functions[0])] }
        return try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for (index, functions) in functions.enumerated() {
                group.addTask { (index, try await ask(functions)) }
            }
            var answers: [(Int, Answer)] = []
            for try await answer in group { answers.append(answer) }
            return answers.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// A task, and the partition that has it.
    typealias Located = (task: QueuedTask, partition: Int)

    /// - Throws: `taskNotFound`.
    func locate(_ id: String) async throws -> Located {
        guard let found = try await locate([id]).first ?? nil else {
            throw SchedulerError.taskNotFound(
                message: "task \(id) does not exist in queue \(queue), or was deleted after its retention")
        }
        return found
    }

    /// In the order asked for, nil where there is none.
    func locate(_ ids: [String]) async throws -> [Located?] {
        for id in ids { _ = try Name.validate(id, field: "task_id") }
        var found = [Located?](repeating: nil, count: ids.count)
        var missing = Array(ids.indices)
        // All at home first, then those that are not there one partition further, and so on.
        for distance in 0..<partitions.count where !missing.isEmpty {
            let groups = Dictionary(grouping: missing) {
                (partitions.home(of: ids[$0]) + distance) % partitions.count
            }
            for (partition, asked) in groups {
                var arguments: [RedisArgument] = []
                for index in asked { arguments += ["task", .string(ids[index])] }
                let reply = try await functions[partition].call("get", arguments)
                for (index, value) in zip(asked, reply.array ?? []) where !value.isNull {
                    found[index] = (try QueuedTask(ReplyFields(value)), partition)
                }
            }
            missing.removeAll { found[$0] != nil }
        }
        return found
    }

    /// The partition whose keys speak of the task: its home, unless another one has it.
    func functions(of id: String) async throws -> QueueFunctions {
        guard partitions.count > 1 else { return functions[0] }
        for index in order(for: id) where try await functions[index].exists([functions[index].keys.task(id)]) {
            return functions[index]
        }
        return functions[partitions.home(of: id)]
    }
}

extension QueueFunctions {
    /// Whether any of these keys is there.
    func exists(_ keys: [String], deadline: Duration? = nil) async throws -> Bool {
        do {
            return try await client.send(RedisCommand("EXISTS", keys.map { .string($0) }), deadline: deadline).int != 0
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }
}
