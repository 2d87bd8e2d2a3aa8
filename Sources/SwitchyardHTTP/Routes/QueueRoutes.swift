import Hummingbird
import Switchyard

// A queue's settings, and whether it is paused. Each answers with all the settings that now hold.

extension API {
    func addQueues(to routes: inout Routes) {
        routes.on(.post, "/scheduler/queue/:queue/pause") { request, context in
            try await configure(request, context) { _ in [("paused", 1)] }
        }
        routes.on(.post, "/scheduler/queue/:queue/resume") { request, context in
            try await configure(request, context) { _ in [("paused", 0)] }
        }
        routes.on(.patch, "/scheduler/queue/:queue") { request, context in
            try await configure(request, context) { try Settings.changes(try await json($0)) }
        }
    }

    private func configure(
        _ request: Request, _ context: BasicRequestContext,
        _ changes: (Request) async throws -> [(name: String, value: Int)]
    ) async throws -> Response {
        _ = try Query(request)
        let queue = try name(context, "queue", field: "queue")
        let changes = try await changes(request)
        let settings = try await scheduler.handleForSubmitting(queue: queue).configure(changes)
        self.settings.store(settings, of: queue)
        return .json(Settings.json(settings, queue: queue))
    }
}
