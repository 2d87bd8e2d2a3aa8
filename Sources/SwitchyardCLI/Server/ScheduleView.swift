/// The fields of a recurring schedule that a table shows, as the server returns them.
struct ScheduleView: Decodable, Sendable {
    /// The task that the schedule submits.
    struct Work: Decodable, Sendable {
        var repo, target: String?
        var args, command: [String]?

        var what: String {
            if let command, !command.isEmpty { return CommandLineText.joined(command) }
            return ([repo, target].compactMap { $0 } + (args ?? [])).joined(separator: " ")
        }
    }

    var scheduleId: String
    var cron, zone, missed: String?
    var nextAt, lastAt: String?
    var problem: String?
    var task: Work?
}

/// The response of `GET /scheduler/schedules`.
struct SchedulesView: Decodable, Sendable {
    var schedules: [ScheduleView]
}
