import JSON
import Switchyard

/// A recurring schedule. Its `task` has the field names of a submission.
enum ScheduleJSON {
    static func json(_ schedule: RecurringSchedule, queue: String) -> JSONValue {
        var json: JSONValue = [
            "schedule_id": .string(schedule.id), "queue": .string(queue), "cron": .string(schedule.cron),
            "zone": .string(schedule.zone), "missed": .string(schedule.missed.rawValue),
            "next_at": JSONValue(schedule.next), "last_at": JSONValue(schedule.last),
        ]
        // Present only if the schedule cannot fire.
        json.add("problem", schedule.problem.map { .string($0) })
        json.add("task", task(schedule.task))
        return json
    }

    private static func task(_ task: QueuedTask) -> JSONValue {
        var json: JSONValue = [
            "priority": JSONValue(task.priority?.rawValue), "timeout_seconds": JSONValue(task.timeout),
            "max_retries": JSONValue(task.maxRetries),
        ]
        json.add("delay_seconds", task.delay.map { JSONValue($0) })
        TaskJSON.addRequest(task.request, to: &json)
        return json
    }
}
