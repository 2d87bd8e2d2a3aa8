import Hummingbird
import Switchyard

// The queues in numbers.

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

    /// How many workers today's demand could use: of a queue or, with `class`, of one class of its workers. That one is
    /// counted also while it has no worker, and then as if each had `slots` slots (1): a farm can grow from nothing.
    private func autoscale(_ request: Request) async throws -> Response {
        let query = try Query(request, ["queue", "class", "slots"])
        let name = query["class"].map(Demand.canonicalName)
        if let name, name.utf8.count > 2000 || name.utf8.contains(where: { $0 <= 0x20 || $0 > 0x7E }) {
            throw Problem.badRequest(
                "class", "expected labels and capacity as in /scheduler/workers, found \(Name.shown(name))")
        }
        let slots = try query.integer("slots", in: 1...1000) ?? 1
        let handle = try handle(query)
        let demand = try await handle.demand(countingClass: name, slots: slots)
        return .json([
            "queue": .string(handle.queue),
            "desired_workers": JSONValue(name.map(demand.desiredWorkers(of:)) ?? demand.desiredWorkers),
            "classes": DemandJSON.classes([(handle.queue, demand)]),
        ])
    }

    /// The answers of all the queues, in their order: asked at once, so that the calls share a trip to Redis.
    func forEach<Answer: Sendable>(
        _ handles: [SchedulerHandle], _ ask: @escaping @Sendable (SchedulerHandle) async throws -> Answer
    ) async throws -> [Answer] {
        try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for (index, handle) in handles.enumerated() {
                group.addTask { (index, try await ask(handle)) }
            }
            var answers: [(Int, Answer)] = []
            for try await answer in group { answers.append(answer) }
            return answers.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}
