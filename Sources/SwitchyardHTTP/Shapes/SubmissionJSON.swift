import HTTPTypes
import JSON
import NIOCore
import Switchyard

/// The response to a submission, for one task.
enum SubmissionJSON {
    static func json(_ submission: SchedulerHandle.Submission, queue: String) -> JSONValue {
        let task = submission.task
        var json: JSONValue = [
            "task_id": .string(task.id), "queue": .string(queue), "state": .string(task.state.rawValue),
            "status": .string(status(submission)), "priority": JSONValue(task.priority?.rawValue),
            "priority_reason": JSONValue(task.priorityReason), "queue_position": JSONValue(task.position),
        ]
        // The unique key was taken: this is the task that has it.
        json.add("unique", submission.isDuplicate ? true : nil)
        json.add("replicated", submission.isReplicated.map { .bool($0) })
        return json
    }

    /// 202 if fewer Redis replicas than asked for have the tasks: they are in the queue, but a failover may lose them.
    static func status(of submissions: [SchedulerHandle.Submission]) -> HTTPResponse.Status {
        if submissions.contains(where: { $0.isReplicated == false }) { return .accepted }
        return submissions.contains(where: \.isNew) ? .created : .ok
    }

    /// The response to a batch, as bytes: as values it would take ten times the memory.
    static func bytes(_ batch: String, _ submissions: [SchedulerHandle.Submission], queue: String) -> ByteBuffer {
        var bytes = ByteBuffer(string: #"{"batch_id":\#(JSONValue.string(batch).text),"tasks":["#)
        for (index, submission) in submissions.enumerated() {
            if index > 0 { bytes.writeString(",") }
            bytes.writeBytes(json(submission, queue: queue).bytes)
        }
        bytes.writeString("]")
        if let isReplicated = submissions.first?.isReplicated { bytes.writeString(#","replicated":\#(isReplicated)"#) }
        bytes.writeString("}")
        return bytes
    }

    /// "dispatched" if a worker was woken for the task or has already taken it; "queued" while it is pending.
    static func status(_ submission: SchedulerHandle.Submission) -> String {
        submission.wokeWorker || submission.task.state != .pending ? "dispatched" : "queued"
    }
}
