import Hummingbird
import Switchyard

// Workers: the list of those registered, draining one, and cordoning one.

extension API {
    func addWorkers(to routes: inout Routes) {
        routes.on(.get, "/scheduler/workers") { request, _ in
            let handles = try handles(try Query(request, ["queue"]))
            let workers = try await forEach(handles) { handle in
                try await handle.getWorkers().map { WorkerJSON.json($0, queue: handle.queue) }
            }
            return .json(["workers": .array(workers.flatMap { $0 })])
        }
        routes.on(.post, "/scheduler/worker/:id/drain") { request, context in
            let handle = try handle(try Query(request, ["queue"]))
            let id = try name(context, "id", field: "worker_id")
            try await handle.drainWorker(id)
            return .json(["worker_id": .string(id), "queue": .string(handle.queue), "draining": true])
        }
        routes.on(.post, "/scheduler/worker/:id/cordon") { request, context in
            try await cordon(request, context, true) { try await $0.cordonWorker($1) }
        }
        routes.on(.post, "/scheduler/worker/:id/uncordon") { request, context in
            try await cordon(request, context, false) { try await $0.uncordonWorker($1) }
        }
    }

    private func cordon(
        _ request: Request, _ context: ClientContext, _ isCordoned: Bool,
        _ act: (SchedulerHandle, String) async throws -> Void
    ) async throws -> Response {
        let handle = try handle(try Query(request, ["queue"]))
        let id = try name(context, "id", field: "worker_id")
        try await act(handle, id)
        return .json(["worker_id": .string(id), "queue": .string(handle.queue), "cordoned": .bool(isCordoned)])
    }
}
