import Hummingbird
import JSON
import Switchyard

// Statistics of the queues, and the number of workers that an autoscaler should run.

extension API {
    func addStats(to routes: inout Routes) {
        routes.on(.get, "/scheduler/stats") { request, _ in
            let handles = try handles(try Query(request, ["queue"]))
            return .json(
                StatsJSON.json(
                    try await forEach(handles) { handle in
                        async let demand = handle.demand()
                        return (stats: try await handle.getStats(), demand: try await demand)
                    }))
        }
        routes.on(.get, "/scheduler/autoscale") { request, _ in try await autoscale(request) }
    }

    /// Returns how many workers the current tasks could use, in one queue or, as the statistics, in all; with `class`,
    /// of one class of workers. A class without a registered worker is counted as if each worker had `slots` slots (1
    /// by default), so that an autoscaler can start from no workers.
    private func autoscale(_ request: Request) async throws -> Response {
        let query = try Query(request, ["queue", "class", "slots"])
        let name = query["class"].map(Demand.canonicalName)
        if let name, name.utf8.count > 2000 || name.utf8.contains(where: { $0 <= 0x20 || $0 > 0x7E }) {
            throw Problem.badRequest(
                "class", "expected labels and capacity as in /scheduler/workers, found \(Name.shown(name))")
        }
        let slots = try query.integer("slots", in: 1...1000) ?? 1
        let demands = try await forEach(try handles(query)) { handle in
            (queue: handle.queue, demand: try await handle.demand(countingClass: name, slots: slots))
        }
        let desired = demands.reduce(0) { sum, one in
            sum + (name.map(one.demand.desiredWorkers(of:)) ?? one.demand.desiredWorkers)
        }
        return .json([
            "queue": JSONValue(query["queue"]), "desired_workers": JSONValue(desired),
            "classes": DemandJSON.classes(demands.map { ($0.queue, $0.demand) }),
        ])
    }

    /// Returns the result of `ask` for each queue, in the order of `handles`. The calls run concurrently, so that they
    /// share a round trip to Redis. A queue that cannot be read, because something has damaged its keys, is left out if
    /// others can: the health names it.
    func forEach<Value: Sendable>(
        _ handles: [SchedulerHandle], _ ask: @escaping @Sendable (SchedulerHandle) async throws -> Value
    ) async throws -> [Value] {
        try await withThrowingTaskGroup(of: (Int, Result<Value, any Error>).self) { group in
            for (index, handle) in handles.enumerated() {
                group.addTask {
                    do {
                        return (index, .success(try await ask(handle)))
                    } catch SchedulerError.internal(let message, redisAway: false) {
                        return (index, .failure(SchedulerError.internal(message: message, redisAway: false)))
                    }
                }
            }
            var values: [(Int, Value)] = []
            var damage: (any Error)?
            for try await (index, result) in group {
                switch result {
                case .success(let value): values.append((index, value))
                case .failure(let error): damage = error
                }
            }
            if values.isEmpty, let damage { throw damage }
            return values.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}
