import Foundation
import JSON
import Switchyard

// The server's responses, reduced to the fields that tables show; `-o json` passes on the server's own text. The
// decoder converts the names from snake_case.

/// A task as the server returns it.
struct TaskView: Decodable, Sendable {
    struct Problem: Decodable, Sendable {
        var code: String?
        var message: String?
    }

    struct Attempt: Decodable, Sendable {
        var attempt: Int
        var worker: String?
        var assignedAt, startedAt, finishedAt: String?
        var outcome: String?
        var exitCode: Int?
        var error: Problem?
    }

    var taskId: String
    var queue: String?
    var state: String
    var heldBy: String?
    /// The process of its latest attempt was told to end, and still runs.
    var ending: Bool?
    /// Why a pending task waits; in a list only if the task itself shows it.
    var reason: Problem?
    var batchId: String?
    var kind, repo, target, mr, cwd: String?
    var args, labels, command: [String]?
    var priority, priorityReason: String?
    var queuePosition: Int?
    var timeoutSeconds: Double?
    var attempt, retryCount, maxRetries: Int?
    var worker: String?
    var submittedAt, assignedAt, startedAt, finishedAt, leaseExpiresAt, runAt: String?
    var progress, result, payload: JSONValue?
    var exitCode: Int?
    var error: Problem?
    var attempts: [Attempt]?
    var requires, dependsOn: [String]?
    var resources: [String: JSONValue]?

    var taskState: TaskState? { TaskState(rawValue: state) }
    var hasEnded: Bool { taskState?.isTerminal ?? false }
    var exitStatus: ExitStatus { taskState.map(ExitStatus.init(ended:)) ?? .error }

    /// A short description of the task: its command if it has no target, else its repository, target and arguments.
    var what: String {
        if (target ?? "").isEmpty, let command, !command.isEmpty { return CommandLineText.joined(command) }
        return ([repo, target].compactMap { $0 } + (args ?? [])).joined(separator: " ")
    }

    /// The duration of the latest attempt, up to `now` while it runs.
    func runningTime(now: Date = Date()) -> String? {
        guard let start = startedAt.flatMap(HumanTime.parse) else { return nil }
        return HumanTime.duration((finishedAt.flatMap(HumanTime.parse) ?? now).timeIntervalSince(start))
    }

    var stateCell: Table.Cell {
        let text = (heldBy ?? (ending == true ? "ending" : nil)).map { "\(state) (\($0))" } ?? state
        return Table.Cell(text, Self.colour(ofState: state))
    }

    static func colour(ofState state: String) -> Colour? {
        switch TaskState(rawValue: state) {
        case .running, .assigned: .blue
        case .completed: .green
        case .failed, .timeout: .red
        case .cancelled: .yellow
        case .pending, nil: nil
        }
    }
}

/// The response of `POST /scheduler/task`.
struct SubmissionView: Decodable, Sendable {
    var taskId: String
    var queue: String?
    var state: String?
    var status: String?
    var priority, priorityReason: String?
    var queuePosition: Int?
    /// True if a task with the same unique key existed, so that nothing was added.
    var unique: Bool?
    /// Whether as many Redis replicas as asked for have it; nil if none was asked for.
    var replicated: Bool?
}

/// The response of `POST /scheduler/tasks`.
struct BatchSubmissionView: Decodable, Sendable {
    var batchId: String
    var tasks: [SubmissionView]
    var replicated: Bool?
}

/// The response of `GET /scheduler/batch/{id}`.
struct BatchView: Decodable, Sendable, Equatable {
    var batchId: String
    var total: Int
    var pending, assigned, running, completed, failed, timeout, cancelled: Int?
    /// The task that runs once the batch has ended.
    var followUpTaskId: String?

    // The numbers are the server's: &+ does not trap.
    var ended: Int { (completed ?? 0) &+ (failed ?? 0) &+ (timeout ?? 0) &+ (cancelled ?? 0) }
    var hasEnded: Bool { ended >= total }
}

/// An argument vector as a person would type it.
enum CommandLineText {
    static func joined(_ arguments: [String]) -> String {
        arguments.map(quoted).joined(separator: " ")
    }

    private static func quoted(_ argument: String) -> String {
        let needsNoQuotes = argument.unicodeScalars.allSatisfy { scalar in
            scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
                || "-_./:=,+@%".unicodeScalars.contains(scalar)
        }
        return needsNoQuotes && !argument.isEmpty ? argument : "'\(argument.replacing("'", with: "'\\''"))'"
    }
}
