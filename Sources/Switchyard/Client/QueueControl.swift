import RedisClient

// Calls on a whole queue: settings, pause, drain, purge and demand.

extension SchedulerHandle {
    /// Changes settings by their names in the queue's `config`. Durations are in milliseconds. Each partition gets
    /// every setting, and its share of `max_queue_length` and of the budget for logs.
    ///
    /// If a partition is away, the call throws although the others may have changed. Repeat it when the partition is
    /// back.
    /// - Returns: the current value of every setting.
    /// - Throws: `invalidInput`.
    @discardableResult
    public func configure(_ settings: [(name: String, value: Int)]) async throws -> [String: Int] {
        try await check(settings)
        let parts = try await all { functions in
            try await functions.configure(partitions.shares(of: settings, in: functions.keys.partition))
        }
        var now = parts[0]
        for name in Self.shared { now[name] = parts.reduce(0) { $0 + ($1[name] ?? 0) } }
        return now
    }

    static let lengthLimit = "max_queue_length"
    static let logBudget = "log_budget_bytes"
    /// The settings of which each partition has a share.
    static let shared = [lengthLimit, logBudget]

    /// Checks what one partition could refuse after another has already changed.
    private func check(_ settings: [(name: String, value: Int)]) async throws {
        guard partitions.count > 1 else { return }
        for (name, value) in settings {
            if name == Self.lengthLimit, value < partitions.count {
                throw SchedulerError.invalidInput(
                    field: name,
                    message: "\(name): expected at least 1 for each of \(partitions.count) partitions, found \(value)")
            }
            if name == "aging_ms" {
                let stats = try await getStats()
                guard stats.pending + stats.assigned + stats.running == 0 else {
                    throw SchedulerError.invalidInput(
                        field: name, message: "\(name): it can only be changed while no task is pending or running")
                }
            }
        }
    }

    /// Pauses the queue: no task is assigned. Running tasks continue.
    /// - Throws: `queueNotFound`.
    public func pause() async throws { try await configureExisting([("paused", 1)]) }
    /// Drains the queue: new tasks are refused with `queueDraining`. Existing tasks are still assigned.
    /// - Throws: `queueNotFound`.
    public func drain() async throws { try await configureExisting([("draining", 1)]) }
    /// Ends a pause and a drain.
    /// - Throws: `queueNotFound`.
    public func resume() async throws { try await configureExisting([("paused", 0), ("draining", 0)]) }

    /// Changes settings of a queue that exists: a mistyped name must not make a queue.
    private func configureExisting(_ settings: [(name: String, value: Int)]) async throws {
        try await checkExists()
        try await configure(settings)
    }

    private func checkExists() async throws {
        guard try await exists() else {
            throw SchedulerError.queueNotFound(message: "there is no queue \(queue); a submission creates one")
        }
    }

    /// Cancels every task that has not ended and deletes all tasks, in bounded steps, until there is none. Drain the
    /// queue first: tasks that are submitted meanwhile are deleted too.
    /// - Parameter confirm: the queue's name, as a protection against a wrong queue.
    /// - Throws: `invalidInput` if `confirm` is another name; `queueNotFound`.
    public func purgeQueue(confirm: String) async throws {
        try await checkExists()
        _ = try await all { functions in
            while true {
                try Task.checkCancellation()
                let reply = try await functions.call("purge_queue", ["confirm", .string(confirm)])
                guard let count = reply.int else {
                    throw SchedulerError.internal(message: "switchyard_purge_queue returned \(reply)", redisAway: false)
                }
                if count == 0 { return }
            }
        }
    }

    /// Returns the demand for workers, for autoscaling.
    /// - Parameters:
    ///   - name: a class that is counted even if none of its workers is registered.
    ///   - slots: how many slots a worker of that class would have.
    public func demand(countingClass name: String? = nil, slots: Int = 1) async throws -> Demand {
        let name = name.map(Demand.canonicalName)
        var demand = Demand(classes: [], unserved: 0)
        var lanes: [(ready: Int, servedBy: Set<String>)] = []
        for part in try await all({ try await $0.demand(countingClass: name) }) {
            for one in part.classes { demand.add(one) }
            lanes += part.lanes
        }
        if let name, !demand.classes.contains(where: { $0.name == name }) {
            demand.classes.append(
                Demand.Class(
                    name: name, workers: 0, slots: 0, busy: 0, draining: 0, ready: 0, slotsPerWorker: Double(slots)))
        }
        demand.classes.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        for lane in lanes { demand.count(ready: lane.ready, servedBy: lane.servedBy) }
        return demand
    }
}

extension QueueFunctions {
    /// Reads all pages of `switchyard_demand` of one partition.
    fileprivate func demand(
        countingClass name: String?
    ) async throws -> (classes: [Demand.Class], lanes: [(ready: Int, servedBy: Set<String>)]) {
        var classes: [String: Demand.Class] = [:]
        var lanes: [(ready: Int, servedBy: Set<String>)] = []
        var cursor = ""
        repeat {
            var arguments: [RedisArgument] = []
            if let name { arguments.add("class", .string(name)) }
            if !cursor.isEmpty { arguments.add("cursor", .string(cursor)) }
            let page = try DemandPage(await call("demand", arguments))
            for (name, numbers) in page.classes {
                var one =
                    classes[name]
                    ?? Demand.Class(
                        name: name, workers: 0, slots: 0, busy: 0, draining: 0, ready: 0, slotsPerWorker: 0)
                one.workers += numbers[0]
                one.slots += numbers[1]
                one.busy += numbers[2]
                one.draining += numbers[3]
                one.slotsPerWorker = one.workers > 0 ? Double(one.slots) / Double(one.workers) : 0
                classes[name] = one
            }
            lanes += page.lanes
            cursor = page.cursor
        } while !cursor.isEmpty
        return (Array(classes.values), lanes)
    }

    /// Changes settings of this partition, and returns the current value of every setting.
    @discardableResult
    func configure(_ settings: [(name: String, value: Int)]) async throws -> [String: Int] {
        var arguments: [RedisArgument] = []
        for (name, value) in settings { arguments.add(name, .integer(Int64(value))) }
        return try ReplyFields(await call("configure", arguments)).numbers
    }
}

extension Partitions {
    /// Returns the settings for partition `index`, with its share of the queue's length.
    func shares(of settings: [(name: String, value: Int)], in index: Int) -> [(name: String, value: Int)] {
        settings.map { name, value in
            guard SchedulerHandle.shared.contains(name), value > 0 else { return (name, value) }
            // A share of 0 would be no limit.
            return (name, max(1, share(of: value, in: index)))
        }
    }
}

extension Demand {
    /// Adds the numbers of a class in one partition. Partitions share their workers, but each has its own attempts.
    fileprivate mutating func add(_ one: Class) {
        guard let index = classes.firstIndex(where: { $0.name == one.name }) else { return classes.append(one) }
        classes[index].busy += one.busy
        if one.workers > classes[index].workers {
            classes[index].workers = one.workers
            classes[index].slots = one.slots
            classes[index].slotsPerWorker = one.slotsPerWorker
        }
        classes[index].draining = max(classes[index].draining, one.draining)
    }

    /// Counts the ready tasks of a lane for one of the classes that serve it.
    mutating func count(ready: Int, servedBy names: Set<String>) {
        let serving = classes.indices.filter { names.contains(classes[$0].name) }
        // `max` returns the last of equal elements.
        let most = serving.reversed().max { left, right in
            classes[left].slots - classes[left].busy < classes[right].slots - classes[right].busy
        }
        if let most { classes[most].ready += ready } else { unserved += ready }
    }
}
