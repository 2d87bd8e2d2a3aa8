import Hummingbird
import Switchyard

// A batch as a whole: its counts, and its cancellation.

extension API {
    func addBatches(to routes: inout Routes) {
        routes.on(.get, "/scheduler/batch/:id") { request, context in
            let handle = try handle(try Query(request, ["queue"]))
            let batch = try await handle.getBatch(try name(context, "id", field: "batch_id"))
            return .json(BatchJSON.json(batch, queue: handle.queue))
        }
        routes.on(.delete, "/scheduler/batch/:id") { request, context in
            let query = try Query(request, ["queue", "reason"])
            let handle = try handle(query)
            let batch = try await handle.cancelBatch(
                try name(context, "id", field: "batch_id"), reason: query["reason"])
            return .json(BatchJSON.json(batch, queue: handle.queue))
        }
    }
}
