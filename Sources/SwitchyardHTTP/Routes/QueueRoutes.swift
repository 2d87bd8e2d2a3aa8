import Hummingbird
import Switchyard

// A queue as a whole: reading and changing its settings, pausing, draining and purging it. A request that changes
// settings returns all of them as they now are. Only PATCH creates a queue.

extension API {
    func addQueues(to routes: inout Routes) {
        routes.on(.post, "/scheduler/queue/:queue/pause") { request, context in
            try await configureExisting(request, context, [("paused", 1)])
        }
        routes.on(.post, "/scheduler/queue/:queue/resume") { request, context in
            try await configureExisting(request, context, [("paused", 0), ("draining", 0)])
        }
        routes.on(.post, "/scheduler/queue/:queue/drain") { request, context in
            try await configureExisting(request, context, [("draining", 1)])
        }
        routes.on(.get, "/scheduler/queue/:queue") { request, context in
            _ = try Query(request)
            let queue = try name(context, "queue", field: "queue")
            return .json(Settings.json(try await scheduler.handle(queue: queue).configure([]), queue: queue))
        }
        routes.on(.delete, "/scheduler/queue/:queue") { request, context in
            let query = try Query(request, ["confirm"])
            let queue = try name(context, "queue", field: "queue")
            guard let confirm = query["confirm"], confirm == queue else {
                throw Problem.badRequest(
                    "confirm",
                    "expected the name of the queue, \(queue), to delete all its tasks, found "
                        + (query["confirm"].map(Name.shown) ?? "none"))
            }
            try await scheduler.handle(queue: queue).purgeQueue(confirm: confirm)
            return .json(["queue": .string(queue), "purged": true])
        }
        routes.on(.patch, "/scheduler/queue/:queue") { request, context in
            try await configure(request, context) { try Settings.changes(try await json($0)) }
        }
    }

    /// Changes settings of a queue that exists: a mistyped name must not make a queue.
    private func configureExisting(
        _ request: Request, _ context: ClientContext, _ changes: [(name: String, value: Int)]
    ) async throws -> Response {
        let queue = try name(context, "queue", field: "queue")
        if !scheduler.queues.contains(queue), try await !scheduler.handle(queue: queue).exists() {
            throw SchedulerError.queueNotFound(message: "there is no queue \(queue); a submission creates one")
        }
        return try await configure(request, context) { _ in changes }
    }

    private func configure(
        _ request: Request, _ context: ClientContext,
        _ changes: (Request) async throws -> [(name: String, value: Int)]
    ) async throws -> Response {
        _ = try Query(request)
        let queue = try name(context, "queue", field: "queue")
        let changes = try await changes(request)
        // Without a change this only reads, and must not create the queue.
        if changes.isEmpty {
            return .json(Settings.json(try await scheduler.handle(queue: queue).configure([]), queue: queue))
        }
        let settings: [String: Int]
        do {
            settings = try await scheduler.creating(queue: queue) { try await $0.configure(changes) }
        } catch SchedulerError.invalidInput(let stored?, let message) {
            throw Problem(.invalidInput(field: Settings.name(of: stored), message: message))
        }
        self.settings.store(settings, of: queue)
        return .json(Settings.json(settings, queue: queue))
    }
}
