import Switchyard

/// What a submission is answered with.
enum SubmissionJSON {
    static func json(_ submission: SchedulerHandle.Submission, queue: String) -> JSONValue {
        let task = submission.task
        var json: JSONValue = [
            "task_id": .string(task.id), "queue": .string(queue), "state": .string(task.state.rawValue),
            "status": .string(status(submission)), "priority": JSONValue(task.priority?.rawValue),
            "priority_reason": JSONValue(task.priorityReason), "queue_position": JSONValue(task.position),
        ]
        // The task with its unique key was there before, and is answered instead.
        json.add("unique", submission.isDuplicate ? true : nil)
        return json
    }

    /// Dispatched: a worker was woken for it, or has had it already. Queued: it waits in line, or for its time.
    static func status(_ submission: SchedulerHandle.Submission) -> String {
        submission.wokeWorker || submission.task.state != .pending ? "dispatched" : "queued"
    }
}
