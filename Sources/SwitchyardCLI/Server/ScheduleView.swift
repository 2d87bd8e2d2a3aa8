/// A recurring schedule as the server answers it, as far as a table shows it.
struct ScheduleView: Decodable, Sendable {
    /// What it submits.
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

/// What `GET /scheduler/schedules` answers.
struct SchedulesView: Decodable, Sendable {
    var schedules: [ScheduleView]
}
