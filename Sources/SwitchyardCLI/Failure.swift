import Foundation
import PrivateRedis
import RedisClient
import Switchyard

/// The exit codes of the command: contract (DESIGN §8, §9).
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
    /// As of a program that SIGPIPE killed: whoever read our output has gone.
    case brokenPipe = 141

    /// From the seed's name of an error.
    /// - Parameter isAway: Redis or the server cannot be reached at the moment.
    init(code: String, isAway: Bool) {
        self =
            switch code {
            case "QueueFull", "QueueDraining": .queueFull
            case "TaskNotFound", "WorkerNotFound": .notFound
            case "TaskExists", "InvalidStateTransition": .conflict
            case "NoWorkers": .noWorkers
            case "BadRequest": .usage
            default: isAway ? .unavailable : .error
            }
    }

    /// From an HTTP status alone, where the answer carried no code that we know.
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

    /// What `--wait` says of a task that ended; the live states count as an error.
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

    /// Of several tasks the one that matters most: failed before timed out before cancelled before completed.
    static func worst(_ statuses: some Sequence<ExitStatus>) -> ExitStatus {
        let order: [ExitStatus] = [.error, .taskFailed, .taskTimedOut, .taskCancelled]
        let statuses = Array(statuses)
        return order.first(where: statuses.contains) ?? .ok
    }
}

/// The end of the command: an exit code, and a line for stderr unless everything has been said.
struct Failure: Error, Equatable, CustomStringConvertible {
    var status: ExitStatus
    var message: String?

    init(_ status: ExitStatus, _ message: String? = nil) {
        self.status = status
        self.message = message
    }

    /// From what the modules below throw. Nil: not ours, but ArgumentParser's.
    init?(_ error: any Error) {
        switch error {
        case let failure as Failure: self = failure
        case let error as SchedulerError: self.init(error)
        case let error as RedisError:
            self.init(error.kind == .invalidConfiguration ? .usage : .unavailable, error.description)
        case let error as PrivateRedisError: self.init(.error, error.description)
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

    /// Says it and exits. Everything after the first line is indented, so that it reads as one message.
    func end() -> Never {
        if let message {
            let text = message.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n  ")
            // stderr may be gone too; the exit code still tells.
            try? Console.error.write("switchyard: \(Console.error.printable(text))\n")
        }
        exit(status.rawValue)
    }
}
