import RedisClient

// A queue as a whole: its settings, whether it takes and gives out tasks, and its end.

extension SchedulerHandle {
    /// Changes settings by their names in the queue's `config`; durations in milliseconds.
    /// - Returns: every setting, with the value that now holds.
    /// - Throws: `invalidInput`.
    @discardableResult
    public func configure(_ settings: [(name: String, value: Int)]) async throws -> [String: Int] {
        var arguments: [RedisArgument] = []
        for (name, value) in settings { arguments.add(name, .integer(Int64(value))) }
        let fields = try ReplyFields(await functions.call("configure", arguments))
        return Dictionary(
            fields.names.compactMap { name in fields.optionalInt(name).map { (name, $0) } },
            uniquingKeysWith: { first, _ in first })
    }

    /// Gives out no more tasks; those that run go on.
    public func pause() async throws { try await configure([("paused", 1)]) }
    /// Takes no more tasks; those that it has are given out. New ones are refused with `queueFull`.
    public func drain() async throws { try await configure([("draining", 1)]) }
    /// Gives out and takes tasks again.
    public func resume() async throws { try await configure([("paused", 0), ("draining", 0)]) }

    /// Cancels every task that has not ended and deletes all of them, in bounded steps, until there is none. Pause or
    /// drain the queue first: what is submitted meanwhile goes too.
    /// - Parameter confirm: the queue's name, so that nobody empties the wrong one.
    /// - Throws: `invalidInput` without the right confirmation.
    public func purgeQueue(confirm: String) async throws {
        while true {
            try Task.checkCancellation()
            let reply = try await functions.call("purge_queue", ["confirm", .string(confirm)])
            guard let count = reply.int else {
                throw SchedulerError.internal(message: "switchyard_purge_queue answered \(reply)", redisAway: false)
            }
            if count == 0 { return }
        }
    }

    /// What autoscaling needs to know.
    /// - Parameters:
    ///   - name: a class to count also while no worker of it is registered.
    ///   - slots: how many slots a worker of that class would have.
    public func demand(countingClass name: String? = nil, slots: Int = 1) async throws -> Demand {
        let name = name.map(Demand.canonicalName)
        let reply = try await functions.call("demand", name.map { ["class", .string($0)] } ?? []).array ?? []
        guard reply.count == 2, let lanes = reply[0].array, let classes = reply[1].array else {
            throw SchedulerError.internal(message: "switchyard_demand answered something unexpected", redisAway: false)
        }
        var demand = Demand(classes: [], unserved: 0)
        for entry in classes.compactMap(\.array) where entry.count >= 5 {
            let numbers = entry.dropFirst().map { Int($0.int ?? 0) }
            demand.classes.append(
                Demand.Class(
                    name: entry[0].string ?? "", workers: numbers[0], slots: numbers[1], busy: numbers[2],
                    draining: numbers[3], ready: 0,
                    slotsPerWorker: numbers[0] > 0 ? Double(numbers[1]) / Double(numbers[0]) : Double(slots)))
        }
        for lane in lanes.compactMap(\.array) where lane.count >= 2 {
            demand.count(ready: Int(lane[1].int ?? 0), servedBy: Set(lane.dropFirst(2).compactMap(\.string)))
        }
        return demand
    }
}

extension Demand {
    /// Counts the ready tasks of a lane for one of the classes that serve it.
    mutating func count(ready: Int, servedBy names: Set<String>) {
        let serving = classes.indices.filter { names.contains(classes[$0].name) }
        // `max` answers the last of equals.
        let most = serving.reversed().max { left, right in
            classes[left].slots - classes[left].busy < classes[right].slots - classes[right].busy
        }
        if let most { classes[most].ready += ready } else { unserved += ready }
    }
}
