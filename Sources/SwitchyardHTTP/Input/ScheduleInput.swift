import JSON
import Switchyard

/// The body of `PUT /scheduler/schedule/{id}`.
struct ScheduleInput {
    private let cron: String
    private let zone: String?
    private let missed: RecurringSchedule.Missed?
    private let task: TaskInput

    init(_ value: JSONValue) throws {
        let fields = try Fields(value, known: ["cron", "zone", "missed", "task"])
        guard let cron = try fields.word("cron") else {
            throw fields.problem("cron", "a cron expression such as 0 3 * * *", found: .null)
        }
        self.cron = cron
        zone = try fields.word("zone")
        missed = try fields.choice("missed", RecurringSchedule.Missed.self)
        guard let task = fields["task"], task != .null else {
            throw fields.problem("task", "a task as in POST /scheduler/task", found: .null)
        }
        // Each task of a schedule gets a new id, in the queue of the schedule, at the time when it fires.
        for name in ["id", "queue", "run_at", "if_no_workers", "replicas_to_wait"] {
            guard case .object(let members) = task, let member = members.first(where: { $0.name == name }) else {
                continue
            }
            throw Problem.badRequest(
                "task.\(name)", "expected none in the task of a schedule, found \(member.value.shown)")
        }
        self.task = try TaskInput(task, path: "task.")
    }

    /// - Parameter defaults: the queue's settings, stored in the schedule for the fields that the client omitted.
    func schedule(id: String, defaults: [String: Int]) -> RecurringSchedule {
        var made = task.task
        made.timeout = made.timeout ?? defaults["default_timeout_ms"].map { .milliseconds($0) }
        made.maxRetries = made.maxRetries ?? defaults["default_max_retries"]
        return RecurringSchedule(id: id, cron: cron, zone: zone ?? "UTC", missed: missed ?? .skip, task: made)
    }
}
