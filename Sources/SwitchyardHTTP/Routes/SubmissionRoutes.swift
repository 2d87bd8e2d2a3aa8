import HTTPTypes
import Hummingbird
import Switchyard

// Submitting: one task, or a batch of them.

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
            [input], queue: queue, batch: nil, identity: Idempotency(request, queue: queue, body: body),
            traceparent: traceparent(of: request))
        guard let submission = added.first else {
            throw SchedulerError.internal(message: "a submission was answered with nothing", redisAway: false)
        }
        return .json(
            SubmissionJSON.json(submission, queue: queue), status: submission.isRepetition ? .ok : .created,
            headers: [.location: location("task", submission.task.id, queue: queue)])
    }

    private func submitBatch(_ request: Request) async throws -> Response {
        let query = try Query(request, ["queue"])
        let input =
            switch bodyType(request) {
            case .json: try BatchInput(try await json(request))
            case .lines: try BatchInput(lines: try await body(request))
            }
        let queue = try queue(input.tasks.map(\.queue), query, field: { "tasks[\($0)].queue" })
        let identity = try Idempotency(request, queue: queue, body: input.body)
        let batch = input.id ?? identity?.batchID ?? QueuedTask.randomID()
        let added = try await add(
            input.tasks, queue: queue, batch: batch, identity: identity, traceparent: traceparent(of: request))
        return .json(
            [
                "batch_id": .string(batch),
                "tasks": .array(added.map { SubmissionJSON.json($0, queue: queue) }),
            ],
            status: added.allSatisfy(\.isRepetition) ? .ok : .created,
            headers: [.location: location("batch", batch, queue: queue)])
    }

    /// Adds the tasks, all or none, with the queue's defaults for what they leave open.
    func add(
        _ inputs: [TaskInput], queue: String, batch: String?, identity: Idempotency?, traceparent: String?
    ) async throws -> [SchedulerHandle.Submission] {
        let handle = try await scheduler.handleForSubmitting(queue: queue)
        let needsDefaults = inputs.contains { $0.timeout == nil || $0.maxRetries == nil }
        let defaults = needsDefaults ? try await settings.settings(of: handle) : [:]
        let tasks = inputs.enumerated().map { index, input in
            input.task(defaults: defaults, traceparent: traceparent, identity: identity, index: index)
        }
        do {
            let added = try await handle.addTasks(
                tasks, batch: batch, rejectIfNoWorkers: inputs.contains(where: \.rejectIfNoWorkers))
            return try await asFirstAnswered(added, handle: handle)
        } catch SchedulerError.taskExists(let message) where identity != nil {
            throw Problem(
                .conflict, code: "TaskExists",
                "\(message), submitted by another request: an Idempotency-Key belongs to one request body",
                field: "Idempotency-Key")
        } catch SchedulerError.queueFull(let message) {
            var problem = Problem(.queueFull(message: message))
            problem.limit = try await settings.settings(of: handle)["max_queue_length"]
            throw problem
        }
    }

    /// A repetition is answered with what holds of the tasks, not with what this request would have made of them: the
    /// automatic priority may come out differently now.
    private func asFirstAnswered(
        _ added: [SchedulerHandle.Submission], handle: SchedulerHandle
    ) async throws -> [SchedulerHandle.Submission] {
        guard added.contains(where: \.isRepetition) else { return added }
        let known = try await handle.getTasks(added.map(\.task.id))
        return zip(added, known).map { submission, task in
            var submission = submission
            if submission.isRepetition, let task { submission.task = task }
            return submission
        }
    }

    /// The one queue that all the tasks and the query name, or the default.
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
                "expected the same queue everywhere in a request, found none here (\(options.defaultQueue)) and \(queue) "
                    + "elsewhere; ?queue= names it for all")
        }
        return try Name.validate(queue ?? options.defaultQueue, field: "queue")
    }

    private func location(_ noun: String, _ id: String, queue: String) -> String {
        "/scheduler/\(noun)/\(id)" + (queue == options.defaultQueue ? "" : "?queue=\(queue)")
    }
}
