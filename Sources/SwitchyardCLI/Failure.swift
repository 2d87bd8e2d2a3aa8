import Foundation
import PrivateRedis
import RedisClient
import Switchyard
import SwitchyardBench

/// The exit codes of the command. Scripts rely on them; `switchyard --help` lists all but 141.
enum ExitStatus: Int32, Sendable, CaseIterable {
    case ok = 0
    case error = 1
    case taskFailed = 2
    case taskTimedOut = 3
    case taskCancelled = 4
    case notFound = 5
    case queueFull = 6
    case noWorkers = 7
    case conflict = 8
    case usage = 64
    case unavailable = 69
    case interrupted = 130
    /// The reader of the output has closed it. A shell reports the same code for a program that SIGPIPE killed.
    case brokenPipe = 141

    /// The exit code for an error code of the scheduler or the server.
    /// - Parameter isAway: Redis or the server cannot be reached; decides only about codes that have no exit code of
    ///   their own.
    init(code: String, isAway: Bool) {
        self =
            switch code {
            case "QueueFull", "QueueDraining": .queueFull
            case "TaskNotFound", "WorkerNotFound", "QueueNotFound", "NotFound": .notFound
            case "TaskExists", "InvalidStateTransition": .conflict
            case "NoWorkers": .noWorkers
            case "BadRequest": .usage
            default: isAway ? .unavailable : .error
            }
    }

    /// The exit code for an HTTP status, for responses without a known error code.
    init(httpStatus: UInt) {
        self =
            switch httpStatus {
            case 404: .notFound
            case 409: .conflict
            case 429: .queueFull
            case 400, 405, 413, 415, 422: .usage
            case 502, 503, 504: .unavailable
            default: .error
            }
    }

    /// The exit code of `--wait` for a task's final state. A state that is not final counts as an error.
    init(ended state: TaskState) {
        self =
            switch state {
            case .completed: .ok
            case .failed: .taskFailed
            case .timeout: .taskTimedOut
            case .cancelled: .taskCancelled
            case .pending, .assigned, .running: .error
            }
    }

    /// The exit code for several tasks: error before failed before timed out before cancelled before completed.
    static func worst(_ statuses: some Sequence<ExitStatus>) -> ExitStatus {
        let order: [ExitStatus] = [.error, .taskFailed, .taskTimedOut, .taskCancelled]
        let statuses = Array(statuses)
        return order.first(where: statuses.contains) ?? .ok
    }
}

/// An error that ends the command with an exit code. A nil message prints nothing.
struct Failure: Error, Equatable, CustomStringConvertible {
    var status: ExitStatus
    var message: String?
    /// When the server can be asked again, if it said so.
    var retryAfter: Duration?
    /// The server said that the request had no effect.
    var hadNoEffect = false
    /// There is no connection to the server.
    var isUnreachable = false

    init(_ status: ExitStatus, _ message: String? = nil, retryAfter: Duration? = nil) {
        self.status = status
        self.message = message
        self.retryAfter = retryAfter
    }

    /// Converts the errors that the other modules throw. Returns nil for any other error: ArgumentParser reports it.
    init?(_ error: any Error) {
        switch error {
        case let failure as Failure: self = failure
        case let error as SchedulerError: self.init(error)
        case let error as RedisError:
            self.init(error.kind == .invalidConfiguration ? .usage : .unavailable, error.description)
        case let error as PrivateRedisError: self.init(.error, error.description)
        case let error as BenchError: self.init(.error, error.description)
        case is CancellationError: self.init(.interrupted)
        default: return nil
        }
    }

    init(_ error: SchedulerError) {
        var isAway = false
        if case .internal(_, let redisAway) = error { isAway = redisAway }
        self.init(ExitStatus(code: error.code, isAway: isAway), error.description)
    }

    var firstLine: String { description.split(separator: "\n").first.map(String.init) ?? "" }
    var description: String { message ?? "exit \(status.rawValue)" }

    /// Prints the message to stderr and exits. Lines after the first are indented, so that they read as one message.
    func end() -> Never {
        if let message {
            let text = message.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n  ")
            // stderr may be closed; the exit code still reports the failure.
            try? Console.error.write("switchyard: \(TerminalText.lines(text))\n")
        }
        exit(status.rawValue)
    }
}
