import Foundation
import JSON
import NIOCore
import RedisClient

// Converts a task to the arguments of a submission, and back from the fields of a reply.

extension QueuedTask {
    /// Appends the arguments of `switchyard_submit` for this task.
    func write(to arguments: inout [RedisArgument]) {
        func add(_ name: String, _ text: String?) {
            if let text { arguments.add(name, .string(text)) }
        }
        func add(_ name: String, _ texts: [String]) {
            if !texts.isEmpty { arguments.add(name, .string(JSONValue(texts).text)) }
        }
        add("task", id)
        if let priority, priority != .normal { add("priority", priority.rawValue) }
        // Defaults are left out, to save bytes: init(_:id:) below supplies them.
        if priorityReason != Self.givenReason { add("priority_reason", priorityReason) }
        if let timeout { arguments.add("timeout_ms", .integer(Int64(timeout.milliseconds))) }
        if let maxRetries { arguments.add("max_retries", .integer(Int64(maxRetries))) }
        if let runAt { arguments.add("run_at", .integer(runAt.milliseconds)) }
        if let delay { arguments.add("delay_ms", .integer(Int64(delay.milliseconds))) }
        add("request", requestToken)
        add("kind", request.kind)
        add("repo", request.repo)
        add("target", request.target)
        add("args", request.args)
        add("mr", request.mr)
        add("labels", request.labels)
        add("command", request.command)
        if !request.environment.isEmpty { add("env", JSONValue(sorted: request.environment).text) }
        add("cwd", request.cwd)
        if let payload = request.payload { arguments.add("payload", .buffer(payload)) }
        add("traceparent", request.traceparent)
        for (name, value) in scheduling.arguments { add(name, value) }
    }

    /// The arguments of `switchyard_submit` for this task alone.
    var submission: [RedisArgument] {
        var arguments: [RedisArgument] = []
        write(to: &arguments)
        return arguments
    }

    /// Reads a task from the reply of `switchyard_get` or `switchyard_list`, or from an assignment, which has the id in
    /// the field `task`.
    init(_ fields: ReplyFields) throws(SchedulerError) {
        guard let id = fields.string("id") ?? fields.string("task") else {
            throw .internal(message: "a function returned a task without an id", redisAway: false)
        }
        self.init(fields, id: id)
    }

    init(_ fields: ReplyFields, id: String) {
        var request = BuildRequest()
        request.kind = fields.string("kind")
        request.repo = fields.string("repo")
        request.target = fields.string("target")
        request.args = fields.list("args")
        request.mr = fields.string("mr")
        request.labels = fields.list("labels")
        request.command = fields.list("command")
        request.environment = fields.map("env")
        request.cwd = fields.string("cwd")
        request.payload = fields.bytes("payload")
        request.traceparent = fields.string("traceparent")
        // A submission leaves out the normal priority.
        self.init(request, priority: fields.string("priority").flatMap(TaskPriority.init) ?? .normal, id: id)

        requestToken = fields.string("request")
        priorityReason = fields.string("priority_reason") ?? Self.givenReason
        timeout = fields.optionalDuration("timeout_ms")
        maxRetries = fields.optionalInt("max_retries")
        runAt = fields.date("run_at")
        scheduling = SchedulingOptions(fields)
        state = fields.string("state").flatMap(TaskState.init) ?? .pending
        heldBy = fields.string("held_by").flatMap(HoldReason.init)
        position = fields.optionalInt("position").flatMap { $0 < 0 ? nil : $0 }
        attempt = fields.int("attempt")
        retryCount = fields.int("retry_count")
        worker = fields.string("worker")
        batch = fields.string("batch")
        submittedAt = fields.date("submitted_at")
        isEnding = fields.string("ending") != nil
        dueAt = fields.date("due_at")
        startedAt = fields.date("started_at")
        // Not stored for an attempt that was started by the call that pulled it.
        assignedAt = fields.date("assigned_at") ?? startedAt
        finishedAt = fields.date("finished_at")
        leaseExpiresAt = fields.date("lease_expires_at")
        progress = fields.bytes("progress")
        result = fields.bytes("result")
        omitted = fields.string("omitted")?.split(separator: " ").map(String.init) ?? []
        logRemoved = fields.optionalInt("log_removed")
        exitCode = fields.optionalInt("exit_code")
        failure = fields.string("error_message").map {
            TaskFailure(code: fields.string("error_code") ?? "Failed", message: $0)
        }
        attempts = Self.attempts(fields, latest: self)
    }

    /// Returns the recorded attempts, and the latest attempt, which the task's own fields describe.
    private static func attempts(_ fields: ReplyFields, latest task: QueuedTask) -> [TaskAttempt] {
        var attempts = fields.names.filter { $0.hasPrefix("attempt:") }.compactMap { name in
            fields.json(AttemptRecord.self, name).map(\.attempt)
        }
        if task.attempt > 0, let worker = task.worker, !attempts.contains(where: { $0.attempt == task.attempt }) {
            attempts.append(
                TaskAttempt(
                    attempt: task.attempt, worker: worker, assignedAt: task.assignedAt, startedAt: task.startedAt,
                    finishedAt: task.finishedAt,
                    outcome: fields.string("outcome") ?? (task.state.isTerminal ? task.state.rawValue : nil),
                    exitCode: task.exitCode, failure: task.failure))
        }
        return attempts.sorted { $0.attempt < $1.attempt }
    }
}

/// The record of an ended attempt, as `Functions/core/attempts.lua` writes it.
private struct AttemptRecord: Decodable {
    let number: Int
    let worker: String
    let assignedAt, startedAt, finishedAt: Double?
    let outcome: String?
    let errorCode, errorMessage: String?
    let exitCode: Int?

    enum CodingKeys: String, CodingKey {
        case number = "attempt"
        case worker
        case assignedAt = "assigned_at"
        case startedAt = "started_at"
        case finishedAt = "finished_at"
        case outcome
        case errorCode = "error_code"
        case errorMessage = "error_message"
        case exitCode = "exit_code"
    }

    var attempt: TaskAttempt {
        func date(_ milliseconds: Double?) -> Date? { milliseconds.flatMap { Date(milliseconds: $0) } }
        return TaskAttempt(
            attempt: number, worker: worker, assignedAt: date(assignedAt), startedAt: date(startedAt),
            finishedAt: date(finishedAt), outcome: outcome, exitCode: exitCode,
            failure: errorMessage.map { TaskFailure(code: errorCode ?? "Failed", message: $0) })
    }
}
