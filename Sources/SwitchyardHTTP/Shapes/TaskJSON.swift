import Foundation
import JSON
import NIOCore
import Switchyard

/// A task as responses show it. The basic fields are always present, null if they have no value; an optional field of
/// the submission that was not given is left out.
enum TaskJSON {
    /// - Parameter reason: why a pending task waits.
    static func json(_ task: QueuedTask, queue: String, reason: JSONValue? = nil) -> JSONValue {
        var json: JSONValue = [
            "task_id": .string(task.id), "queue": .string(queue), "state": .string(task.state.rawValue),
            "held_by": JSONValue(task.heldBy?.rawValue), "priority": JSONValue(task.priority?.rawValue),
            "priority_reason": JSONValue(task.priorityReason), "attempt": JSONValue(task.attempt),
            "retry_count": JSONValue(task.retryCount), "max_retries": JSONValue(task.maxRetries),
            "timeout_seconds": JSONValue(task.timeout), "worker": JSONValue(task.worker),
            "submitted_at": JSONValue(task.submittedAt), "assigned_at": JSONValue(task.assignedAt),
            "started_at": JSONValue(task.startedAt), "finished_at": JSONValue(task.finishedAt),
            "lease_expires_at": JSONValue(task.leaseExpiresAt),
        ]
        json.add("reason", reason)
        json.add("queue_position", task.position.map { JSONValue($0) })
        json.add("ending", task.isEnding ? true : nil)
        json.add("run_at", task.runAt.map { JSONValue($0) })
        json.add("due_at", task.dueAt.map { JSONValue($0) })
        json.add("batch_id", task.batch.map { .string($0) })
        addRequest(task.request, to: &json)
        SchedulingJSON.add(task.scheduling, to: &json)
        add("progress", task.progress, to: &json)
        if !task.omitted.contains("result") { add("result", task.result, to: &json) }
        if !task.omitted.isEmpty { json.add("omitted", JSONValue(task.omitted)) }
        json.add("log_removed_bytes", task.logRemoved.map { JSONValue($0) })
        json.add("exit_code", task.exitCode.map { JSONValue($0) })
        json.add("error", error(task.failure))
        json.add("attempts", .array(task.attempts.map(attempt)))
        return json
    }

    static func addRequest(_ request: BuildRequest, to json: inout JSONValue) {
        json.add("kind", request.kind.map { .string($0) })
        json.add("repo", request.repo.map { .string($0) })
        json.add("target", request.target.map { .string($0) })
        json.add("args", request.args.isEmpty ? nil : JSONValue(request.args))
        json.add("mr", request.mr.map { .string($0) })
        json.add("labels", request.labels.isEmpty ? nil : JSONValue(request.labels))
        json.add("command", request.command.isEmpty ? nil : JSONValue(request.command))
        json.add("env", request.environment.isEmpty ? nil : JSONValue(sorted: request.environment))
        json.add("cwd", request.cwd.map { .string($0) })
        if request.payload != nil { add("payload", request.payload, to: &json) }
        json.add("traceparent", request.traceparent.map { .string($0) })
    }

    private static func attempt(_ attempt: TaskAttempt) -> JSONValue {
        [
            "attempt": JSONValue(attempt.attempt), "worker": .string(attempt.worker),
            "assigned_at": JSONValue(attempt.assignedAt), "started_at": JSONValue(attempt.startedAt),
            "finished_at": JSONValue(attempt.finishedAt), "outcome": JSONValue(attempt.outcome),
            "exit_code": JSONValue(attempt.exitCode), "error": error(attempt.failure),
        ]
    }

    private static func error(_ failure: TaskFailure?) -> JSONValue {
        guard let failure else { return .null }
        return ["code": .string(failure.code), "message": .string(failure.message)]
    }

    /// Adds bytes that a submitter or a worker wrote: as JSON if they are valid JSON with finite numbers, otherwise as
    /// ``addText(_:_:to:)`` does.
    static func add(_ name: String, _ bytes: ByteBuffer?, to json: inout JSONValue) {
        guard let bytes else { return json.add(name, .null) }
        // A worker, or something else that writes to Redis, may have sent JSON that other parsers refuse.
        if let value = try? JSONReader.read(bytes), value.hasFiniteNumbers { return json.add(name, value) }
        addText(name, bytes, to: &json)
    }

    /// Adds bytes as a text. If they are not UTF-8, the text has replacement characters, and `<name>_base64` has the
    /// exact bytes.
    static func addText(_ name: String, _ bytes: ByteBuffer, to json: inout JSONValue) {
        if let text = String(validating: bytes.readableBytesView, as: UTF8.self) {
            return json.add(name, .string(text))
        }
        json.add(name, .string(String(decoding: bytes.readableBytesView, as: UTF8.self)))
        json.add("\(name)_base64", .string(Data(bytes.readableBytesView).base64EncodedString()))
    }
}
