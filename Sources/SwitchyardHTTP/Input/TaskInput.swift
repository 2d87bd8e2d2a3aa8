import Foundation
import JSON
import NIOCore
import Switchyard

/// A task as a client submits it: the body of `POST /scheduler/task`, or an entry of a batch.
struct TaskInput {
    var request = BuildRequest()
    var id: String?
    var queue: String?
    /// Nil selects the automatic priority.
    var priority: TaskPriority?
    var timeout: Duration?
    var maxRetries: Int?
    var runAt: Date?
    var delay: Duration?
    var scheduling = SchedulingOptions()
    var rejectIfNoWorkers = false
    /// How many Redis replicas to wait for; nil: as many as the queue says.
    var replicasToWait: Int?

    static let known = SchedulingOptions.known.union([
        "kind", "repo", "target", "args", "mr", "labels", "command", "env", "cwd", "payload", "id", "queue", "priority",
        "timeout_seconds", "max_retries", "run_at", "delay_seconds", "if_no_workers",
        "replicas_to_wait",
    ])

    // The limits of the functions in Redis.
    static let timeoutMilliseconds = 1...2_592_000_000
    static let retries = 0...100
    static let delayMilliseconds = 0...31_536_000_000
    static let replicas = 0...SchedulerHandle.mostReplicas
    static let maxPayloadBytes = 1 << 20

    private enum IfNoWorkers: String, CaseIterable { case reject, queue }

    /// - Parameter path: the prefix of field names in errors: `tasks[3].` in a batch.
    init(_ value: JSONValue, path: String = "") throws {
        let fields = try Fields(value, path: path, known: Self.known)
        request.kind = try fields.name("kind")
        request.repo = try fields.text("repo")
        request.target = try fields.text("target")
        request.args = try fields.texts("args")
        request.mr = try fields.text("mr")
        request.labels = try fields.texts("labels")
        request.command = try fields.texts("command")
        request.environment = try fields.map("env")
        request.cwd = try fields.word("cwd")
        request.payload = try Self.payload(fields)
        if let program = request.command.first, program.isEmpty {
            throw Problem.badRequest("\(path)command[0]", "expected the name of a program, found \"\"")
        }
        id = try fields.name("id")
        queue = try fields.name("queue")
        priority = try fields.choice("priority", TaskPriority.self)
        timeout = try fields.seconds("timeout_seconds", milliseconds: Self.timeoutMilliseconds)
        maxRetries = try fields.integer("max_retries", in: Self.retries)
        runAt = try fields.date("run_at")
        delay = try fields.seconds("delay_seconds", milliseconds: Self.delayMilliseconds)
        scheduling = try SchedulingOptions(fields)
        rejectIfNoWorkers = try fields.choice("if_no_workers", IfNoWorkers.self) == .reject
        replicasToWait = try fields.integer("replicas_to_wait", in: Self.replicas)
    }

    /// Returns the payload's JSON text, which the worker receives. Null is a payload too.
    private static func payload(_ fields: Fields) throws -> ByteBuffer? {
        guard let payload = fields["payload"]?.buffer else { return nil }
        guard payload.readableBytes <= maxPayloadBytes else {
            let field = fields.path + "payload"
            throw Problem(
                .contentTooLarge, code: "BadRequest",
                "\(field): expected at most \(maxPayloadBytes) bytes, found \(payload.readableBytes)", field: field,
                limit: maxPayloadBytes)
        }
        return payload
    }

    /// The task to add, with a random id if the client chose none.
    var task: QueuedTask {
        var task = QueuedTask(request, priority: priority, id: id)
        task.timeout = timeout
        task.maxRetries = maxRetries
        task.runAt = runAt
        task.delay = delay
        task.scheduling = scheduling
        return task
    }
}

extension QueuedTask {
    /// Adds what the request says about all its tasks.
    /// - Parameters:
    ///   - identity: identifies a repeated request; nil without an `Idempotency-Key`.
    ///   - index: the task's index in its batch; nil for the task of `on_complete`.
    mutating func complete(traceparent: String?, identity: Idempotency?, index: Int?) {
        request.traceparent = traceparent
        guard let identity else { return }
        // A random id is also the token.
        if requestToken != nil { id = identity.taskID(index) }
        requestToken = identity.token
    }
}
