import RedisClient

// Which partition a submission goes to. All of it goes to one, because one call of one function adds all or none.
//
// What must be counted or looked at in one place binds it: a unique, concurrency or rate key to the key's home, resources to
// partition 0 (where what a worker has is counted), dependencies to where they are. Otherwise it goes home by its name. Two
// bindings that may differ are refused whether they differ or not, so that what works with one key works with every key.

extension SchedulerHandle {
    /// - Parameters:
    ///   - tasks: prepared; with the follow-up of their batch.
    ///   - name: what tells the home of a submission that nothing binds: the batch's id, or the task's.
    /// - Throws: `invalidInput` for options that bind to different partitions.
    func partition(for tasks: [QueuedTask], name: String) async throws -> Int {
        guard partitions.count > 1 else { return 0 }
        let key = try key(of: tasks)
        let needy = tasks.first { !$0.scheduling.resources.isEmpty }
        if let needy, let key {
            throw refusal(
                needy, "resources",
                "they are counted in one partition, and the tasks of \(key.field) \(key.key) are in another")
        }
        var bound = needy.map { _ in 0 } ?? key.map { partitions.home(of: $0.key) }
        for (task, dependency, partition) in try await dependencies(of: tasks) {
            if let bound, bound != partition {
                throw refusal(
                    task, "depends_on",
                    "\(dependency) is in partition \(partition), and the tasks of this submission belong to partition "
                        + "\(bound) by their keys, resources or other dependencies; submit what depends on each other "
                        + "as one batch")
            }
            bound = partition
        }
        return bound ?? partitions.home(of: name)
    }

    /// The one key of all the tasks; nil: none has any.
    private func key(of tasks: [QueuedTask]) throws -> BindingKey? {
        var found: BindingKey?
        for task in tasks {
            for key in task.scheduling.bindingKeys {
                if let found, found.key != key.key {
                    throw refusal(
                        task, key.field,
                        "\(key.key) beside \(found.field) \(found.key): the tasks of a key are in one partition, so that "
                            + "one submission may name only one key")
                }
                found = key
            }
        }
        return found
    }

    /// What the tasks depend on outside of their submission, and where it is. Those that are nowhere are for Redis to refuse.
    private func dependencies(
        of tasks: [QueuedTask]
    ) async throws -> [(task: QueuedTask, dependency: String, partition: Int)] {
        let own = Set(tasks.map(\.id))
        var dependents: [String: QueuedTask] = [:]
        for task in tasks {
            for id in task.scheduling.dependsOn where !own.contains(id) && dependents[id] == nil {
                dependents[id] = task
            }
        }
        let ids = dependents.keys.sorted()
        var found: [(task: QueuedTask, dependency: String, partition: Int)] = []
        for start in stride(from: 0, to: ids.count, by: Self.tasksPerCall) {
            let part = Array(ids[start..<min(start + Self.tasksPerCall, ids.count)])
            for case (let id, let located?) in zip(part, try await locate(part)) {
                if let task = dependents[id] { found.append((task, id, located.partition)) }
            }
        }
        return found
    }

    private func refusal(_ task: QueuedTask, _ field: String, _ reason: String) -> SchedulerError {
        .invalidInput(
            field: field,
            message: "task \(task.id): \(field): \(reason) (queue \(queue) has \(partitions.count) partitions)")
    }

    /// Refuses names that another partition than the one they go to has already. That one itself is asked by the call that
    /// adds them.
    ///
    /// Two things escape it: two submissions of one name at the same moment that are bound to different partitions; and,
    /// while an instance is away, a name that is there but not at home. The home of a name is always asked.
    /// - Parameter batch: nil for a generated id.
    /// - Throws: `taskExists`; `internal` when a home is away.
    func checkNames(_ tasks: [QueuedTask], batch: String?, goingTo partition: Int) async throws {
        guard partitions.count > 1 else { return }
        // A generated id is met by nobody.
        let names = tasks.filter { $0.requestToken != $0.id }.map(\.id)
        if names.isEmpty, batch == nil { return }
        _ = try await all { functions in
            let index = functions.keys.partition
            if index == partition { return }
            let keys =
                names.map { (what: "task \($0)", home: partitions.home(of: $0), key: functions.keys.task($0)) }
                + (batch.map { [("batch \($0)", partitions.home(of: $0), functions.keys.batch($0))] } ?? [])
            var known = try await functions.first(of: keys.filter { $0.home == index })
            do {
                if known == nil {
                    known = try await functions.first(
                        of: keys.filter { $0.home != index }, deadline: Self.patienceForStrays)
                }
            } catch SchedulerError.internal(_, redisAway: true) {
                // What cannot be asked there does not stop what goes elsewhere.
            }
            if let known { throw SchedulerError.taskExists(message: "\(known) exists already in queue \(queue)") }
        }
    }

    /// A submission waits no longer than this for an instance that very probably has nothing to say.
    private static let patienceForStrays: Duration = .seconds(1)
}

/// A key whose tasks must be in one partition, and the option that has it.
private struct BindingKey {
    var field: String
    var key: String
}

extension SchedulingOptions {
    fileprivate var bindingKeys: [BindingKey] {
        var keys: [BindingKey] = []
        if let uniqueKey { keys.append(BindingKey(field: "unique_key", key: uniqueKey)) }
        if let concurrencyKey { keys.append(BindingKey(field: "concurrency_key", key: concurrencyKey)) }
        if let rateKey { keys.append(BindingKey(field: "rate_key", key: rateKey)) }
        return keys
    }
}

extension QueueFunctions {
    /// What the first of these keys that is there stands for.
    fileprivate func first(
        of keys: [(what: String, home: Int, key: String)], deadline: Duration? = nil
    ) async throws -> String? {
        for start in stride(from: 0, to: keys.count, by: SchedulerHandle.tasksPerCall) {
            let part = keys[start..<min(start + SchedulerHandle.tasksPerCall, keys.count)]
            guard try await exists(part.map(\.key), deadline: deadline) else { continue }
            for (what, _, key) in part where try await exists([key], deadline: deadline) { return what }
        }
        return nil
    }
}
