import HTTPTypes
import Hummingbird
import Switchyard

// Submissions: one task, or a batch of tasks.

extension API {
    func addSubmission(to routes: inout Routes) {
        routes.on(.post, "/scheduler/task") { request, _ in try await submitTask(request) }
        routes.on(.post, "/scheduler/tasks") { request, _ in try await submitBatch(request) }
    }

    private func submitTask(_ request: Request) async throws -> Response {
        let query = try Query(request, ["queue"])
        let body = try await json(request)
        let input = try TaskInput(body)
        let queue = try queue([input.queue], query, field: { _ in "queue" })
        let added = try await add(
            [input.task], rejectIfNoWorkers: input.rejectIfNoWorkers, replicasToWait: input.replicasToWait,
            queue: queue, batch: nil,
            identity: Idempotency(request, queue: queue, body: body), traceparent: traceparent(of: request))
        guard let submission = added.first else {
            throw SchedulerError.internal(message: "a submission returned no task", redisAway: false)
        }
        return .json(
            SubmissionJSON.json(submission, queue: queue), status: SubmissionJSON.status(of: added),
            headers: [.location: location("task", submission.task.id, queue: queue)])
    }

    private func submitBatch(_ request: Request) async throws -> Response {
        let query = try Query(request, ["queue"])
        let key = try Idempotency.key(of: request)
        var input = try await batch(request, key: key)
        let queue = try queue(input.queues, query, field: { "tasks[\($0)].queue" })
        if let named = input.onComplete?.queue, named != queue {
            throw Problem.badRequest("on_complete.queue", "expected the queue of the batch, \(queue), found \(named)")
        }
        let identity = key.flatMap { key in
            input.token.map { Idempotency(key: key, queue: queue, token: $0) }
        }
        let batch = input.id ?? identity?.batchID ?? QueuedTask.randomID()
        // A batch may have many tasks: only one reference to them, so that they are changed in place.
        let tasks = input.tasks
        input.tasks = []
        let added = try await add(
            tasks, onComplete: input.onComplete?.task, onCompleteAgain: input.onCompleteAgain,
            rejectIfNoWorkers: input.rejectIfNoWorkers, replicasToWait: input.replicasToWait, queue: queue,
            batch: batch, identity: identity, traceparent: traceparent(of: request))
        return .json(
            SubmissionJSON.bytes(batch, added, queue: queue), status: SubmissionJSON.status(of: added),
            headers: [.location: location("batch", batch, queue: queue)])
    }

    /// Adds all the tasks or, if one is refused, none.
    func add(
        _ tasks: consuming [QueuedTask], onComplete: QueuedTask? = nil, onCompleteAgain: Bool = false,
        rejectIfNoWorkers: Bool = false, replicasToWait: Int? = nil, queue: String, batch: String?,
        identity: Idempotency?, traceparent: String?
    ) async throws -> [SchedulerHandle.Submission] {
        for index in tasks.indices {
            tasks[index].complete(traceparent: traceparent, identity: identity, index: index)
        }
        let ids = tasks.map(\.id)
        var followUp = onComplete
        followUp?.complete(traceparent: traceparent, identity: identity, index: nil)
        let handle = try scheduler.handle(queue: queue)
        do {
            var rest = consume tasks
            let added = try await scheduler.creating(queue: queue) { handle in
                // The only reference, so that they are changed in place.
                let tasks = rest
                rest = []
                return try await handle.addTasks(
                    tasks, batch: batch, onComplete: followUp, onCompleteAgain: onCompleteAgain,
                    rejectIfNoWorkers: rejectIfNoWorkers, replicasToWait: replicasToWait, wantsPosition: true)
            }
            scheduler.health.submissionEnded()
            return try await asFirstAnswered(added, handle: handle)
        } catch SchedulerError.invalidInput(let field?, let message) where batch != nil {
            // Redis names the task that it refuses by its id (`task t3: depends_on: …`); the client knows its index.
            let index = ids.firstIndex { message.hasPrefix("task \($0): ") }
            throw Problem(
                .invalidInput(field: index.map { "tasks[\($0)].\(field)" } ?? field, message: message))
        } catch SchedulerError.taskExists(let message) where identity != nil {
            throw Problem(
                .conflict, code: "TaskExists",
                "\(message), submitted by another request (with another Idempotency-Key, or with this one and another "
                    + "body)",
                field: "Idempotency-Key")
        } catch SchedulerError.queueFull(let message) {
            var problem = Problem(.queueFull(message: message))
            problem.limit = try await settings.settings(of: handle)["max_queue_length"]
            throw problem
        } catch let error as SchedulerError {
            scheduler.health.submissionEnded(error)
            guard error.hadNoEffect else { throw error }
            var problem = Problem(error)
            problem.applied = false
            throw problem
        }
    }

    /// Replaces each task that existed before by the task as it is stored. This applies to a repeated request and to a
    /// unique key that is taken: the values of this request, such as its automatic priority, may differ.
    private func asFirstAnswered(
        _ added: [SchedulerHandle.Submission], handle: SchedulerHandle
    ) async throws -> [SchedulerHandle.Submission] {
        var added = added
        let earlier = added.indices.filter { !added[$0].isNew }
        for start in stride(from: 0, to: earlier.count, by: SchedulerHandle.tasksPerCall) {
            let part = earlier[start..<min(start + SchedulerHandle.tasksPerCall, earlier.count)]
            let known = try await handle.getTasks(part.map { added[$0].task.id })
            for case (let index, let task?) in zip(part, known) { added[index].task = task }
        }
        return added
    }

    /// Returns the queue that the tasks and the query name, or the default queue. Throws if they name different ones.
    private func queue(_ named: [String?], _ query: Query, field: (Int) -> String) throws -> String {
        var queue = query["queue"]
        for (index, name) in named.enumerated() {
            guard let name else { continue }
            if let queue, queue != name {
                throw Problem.badRequest(
                    field(index),
                    "expected the same queue everywhere in a request, found \(name) and \(Name.shown(queue))")
            }
            queue = name
        }
        if let queue, let unnamed = named.firstIndex(of: nil), query["queue"] == nil, queue != options.defaultQueue {
            throw Problem.badRequest(
                field(unnamed),
                "expected the same queue everywhere in a request, found none here (\(options.defaultQueue)) and "
                    + "\(queue) elsewhere; ?queue= names it for all")
        }
        return try Name.validate(queue ?? options.defaultQueue, field: "queue")
    }

    private func location(_ noun: String, _ id: String, queue: String) -> String {
        "/scheduler/\(noun)/\(id)" + (queue == options.defaultQueue ? "" : "?queue=\(queue)")
    }
}
