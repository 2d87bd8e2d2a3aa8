import Hummingbird
import JSON
import NIOCore
import Switchyard

/// A build request in the form of Orion, an older scheduler of build farms, whose clients can submit here unchanged. It
/// becomes one task for each target.
struct OrionInput {
    /// Limit on the targets of one request.
    private static let mostTargets = 1000

    var tasks: [TaskInput]

    init(_ value: JSONValue) throws {
        let fields = try Fields(value, known: ["repo", "cl_link", "mr", "cl_id", "changes", "targets"])
        guard let repo = try fields.word("repo") else {
            throw fields.problem("repo", "the name of the repository", found: fields["repo"] ?? .null)
        }
        let mr = try fields.text("mr")
        let changeLink = try fields.text("cl_link")
        if let mr, let changeLink, mr != changeLink {
            throw fields.problem("cl_link", "the same as mr, of which it is another name", found: .string(changeLink))
        }
        let targets = try fields.texts("targets")
        guard !targets.isEmpty else {
            throw fields.problem("targets", "at least one target", found: fields["targets"] ?? .null)
        }
        guard targets.count <= Self.mostTargets else {
            throw Problem.badRequest(
                "targets", "expected at most \(Self.mostTargets) targets, found \(targets.count)",
                limit: Self.mostTargets)
        }
        if let empty = targets.firstIndex(of: "") {
            throw fields.problem("targets[\(empty)]", "a text that is not empty", found: "")
        }
        let payload = try Self.payload(fields)
        tasks = try targets.map { target in
            var task = try TaskInput([:])
            task.request.repo = repo
            task.request.target = target
            task.request.mr = mr ?? changeLink
            task.request.payload = payload
            return task
        }
    }

    /// Returns the payload for the worker, which the scheduler does not read: `{"cl_id":…,"changes":[…]}`.
    private static func payload(_ fields: Fields) throws -> ByteBuffer? {
        var payload: JSONValue = [:]
        switch fields["cl_id"] {
        case nil, .null: break
        case .some(let id):
            switch id {
            case .string, .number: payload.add("cl_id", id)
            default: throw fields.problem("cl_id", "a text or a number", found: id)
            }
        }
        switch fields["changes"] {
        case nil, .null: break
        case .some(let changes):
            guard case .array = changes else { throw fields.problem("changes", "an array", found: changes) }
            payload.add("changes", changes)
        }
        guard payload != [:] else { return nil }
        let buffer = payload.buffer
        guard buffer.readableBytes <= TaskInput.maxPayloadBytes else {
            throw Problem(
                .contentTooLarge, code: "BadRequest",
                "changes: expected at most \(TaskInput.maxPayloadBytes) bytes, found \(buffer.readableBytes)",
                field: "changes", limit: TaskInput.maxPayloadBytes)
        }
        return buffer
    }
}

extension API {
    func addOrion(to routes: inout Routes) {
        routes.on(.post, "/v2/task") { request, _ in
            let query = try Query(request, ["queue"])
            let body = try await json(request)
            let input = try OrionInput(body)
            let queue = try Name.validate(query["queue"] ?? options.defaultQueue, field: "queue")
            let identity = try Idempotency(request, queue: queue, body: body)
            let batch = identity?.batchID ?? QueuedTask.randomID()
            let added = try await add(
                input.tasks.map(\.task), queue: queue, batch: batch, identity: identity,
                traceparent: traceparent(of: request))
            return .json(["task_id": .string(batch), "results": .array(added.map(Self.orionResult))])
        }
    }

    private static func orionResult(_ submission: SchedulerHandle.Submission) -> JSONValue {
        let status = SubmissionJSON.status(submission)
        let priority = submission.task.priority?.rawValue ?? ""
        let reason = submission.task.priorityReason ?? ""
        let message =
            status == "dispatched"
            ? "a worker was woken (priority \(priority): \(reason))"
            : "waits for a worker (priority \(priority): \(reason))"
        return ["build_id": .string(submission.task.id), "status": .string(status), "message": .string(message)]
    }
}
