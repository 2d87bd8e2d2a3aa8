import RedisClient

// Which partition a submission goes to. All its tasks go to one partition, because one function call adds all or none.
//
// Options that are counted or checked in one partition bind a submission to it: a unique, concurrency or rate key to
// the home of the key, resources to partition 0 (which counts what workers have left), dependencies to the partition
// that has them. A submission without these goes to the home of its name. Two bindings that could differ are refused
// even if they agree, so that what works with one key works with every key.

extension SchedulerHandle {
    /// Returns the partition of a submission.
    /// - Parameters:
    ///   - tasks: the prepared tasks, and the follow-up task of their batch.
    ///   - name: the id of the batch or of the first task. It decides if no option binds the submission.
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

    /// Returns the only key that the tasks have, or nil if they have none.
    /// - Throws: `invalidInput` for two different keys.
    private func key(of tasks: [QueuedTask]) throws -> BindingKey? {
        var found: BindingKey?
        for task in tasks {
            for key in task.scheduling.bindingKeys {
                if let found, found.key != key.key {
                    throw refusal(
                        task, key.field,
                        "\(key.key) beside \(found.field) \(found.key): the tasks of a key are in one partition, so "
                            + "one submission may have only one key")
                }
                found = key
            }
        }
        return found
    }

    /// Returns the dependencies outside of the submission, with their partitions. Unknown ids are left out: the
    /// submitting call refuses them.
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

    /// Checks that no other partition has a task or batch of the submission. The submitting call checks its own
    /// partition.
    ///
    /// Two cases are not detected: two concurrent submissions of one name that are bound to different partitions; and a
    /// name that exists outside of its home, on a Redis server that is away. The home of a name is always checked.
    /// - Parameter batch: nil if there is none.
    /// - Throws: `taskExists`; `internal` if the home of a name is away.
    func checkNames(_ tasks: [QueuedTask], batch: String?, goingTo partition: Int) async throws {
        guard partitions.count > 1 else { return }
        // A generated id is new in every partition.
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
                // A partition that is away does not stop submissions to other partitions.
            }
            if let known { throw SchedulerError.taskExists(message: "\(known) exists already in queue \(queue)") }
        }
    }

    /// How long a submission waits for a server that very probably has none of its names.
    private static let patienceForStrays: Duration = .seconds(1)
}

/// A key whose tasks must be in one partition, and the name of its option.
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
    /// Returns `what` of the first key that exists, or nil.
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
