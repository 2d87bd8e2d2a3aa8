import JSON
import Switchyard

/// A batch's counts by state. `running` includes the assigned tasks: a worker has them.
enum BatchJSON {
    static func json(_ batch: BatchStatus, queue: String) -> JSONValue {
        [
            "batch_id": .string(batch.id), "queue": .string(queue), "total": JSONValue(batch.total),
            "pending": JSONValue(batch.count(.pending)),
            "running": JSONValue(batch.count(.assigned) + batch.count(.running)),
            "completed": JSONValue(batch.count(.completed)), "failed": JSONValue(batch.count(.failed)),
            "timeout": JSONValue(batch.count(.timeout)), "cancelled": JSONValue(batch.count(.cancelled)),
            "progress": .number("\((batch.progress * 1000).rounded(.down) / 1000)"),
            "finished": .bool(batch.finishedAt != nil), "submitted_at": JSONValue(batch.submittedAt),
            "finished_at": JSONValue(batch.finishedAt), "follow_up_task_id": JSONValue(batch.followUp),
            "failed_task_ids": JSONValue(batch.failures),
        ]
    }
}
