import Foundation
import RedisClient

/// Everything that the scheduler answers a caller with instead of what was asked for. The message names the task, the
/// worker or the field, what was expected and what was found.
public enum SchedulerError: Error, Sendable, Equatable {
    case queueFull(message: String)
    case queueDraining(message: String)
    case taskNotFound(message: String)
    case taskExists(message: String)
    case noWorkers(message: String)
    case workerNotFound(message: String)
    /// `leaseLost`: the event carried an attempt that no longer holds the lease.
    case invalidStateTransition(message: String, leaseLost: Bool)
    /// `field`: which part of the input, where one is to blame.
    case invalidInput(field: String?, message: String)
    /// `redisAway`: Redis could not be reached or is not ready; trying again may help.
    case `internal`(message: String, redisAway: Bool)

    /// The seed's name, which clients test for.
    public var code: String {
        switch self {
        case .queueFull: "QueueFull"
        case .queueDraining: "QueueDraining"
        case .taskNotFound: "TaskNotFound"
        case .taskExists: "TaskExists"
        case .noWorkers: "NoWorkers"
        case .workerNotFound: "WorkerNotFound"
        case .invalidStateTransition: "InvalidStateTransition"
        case .invalidInput: "BadRequest"
        case .internal: "Internal"
        }
    }

    public var message: String {
        switch self {
        case .queueFull(let message), .queueDraining(let message), .taskNotFound(let message), .taskExists(let message),
            .noWorkers(let message), .workerNotFound(let message), .invalidStateTransition(let message, _),
            .invalidInput(_, let message), .internal(let message, _):
            message
        }
    }

    /// Another process has registered with the worker's id: this one must stop, and not register again.
    public var isReplacement: Bool {
        if case .workerNotFound(let message) = self { message.contains(" is another process now") } else { false }
    }

    /// Which part of the input is to blame.
    public var field: String? {
        if case .invalidInput(let field, _) = self { field } else { nil }
    }

    /// The one place where Redis's replies become the scheduler's errors.
    public init(_ error: RedisError) {
        guard error.kind == .server else {
            self = .internal(message: error.description, redisAway: error.kind != .invalidConfiguration)
            return
        }
        let text = String(error.message.drop { $0 != " " }.dropFirst())
        switch error.code {
        case "QUEUEFULL": self = .queueFull(message: text)
        case "QUEUEDRAINING": self = .queueDraining(message: text)
        case "TASKNOTFOUND": self = .taskNotFound(message: text)
        case "TASKEXISTS": self = .taskExists(message: text)
        case "NOWORKERS": self = .noWorkers(message: text)
        case "WORKERNOTFOUND": self = .workerNotFound(message: text)
        case "INVALIDSTATE": self = .invalidStateTransition(message: text, leaseLost: false)
        case "LEASELOST": self = .invalidStateTransition(message: text, leaseLost: true)
        case "BADREQUEST": self = .invalidInput(field: Self.field(in: text), message: text)
        case "OOM":
            self = .internal(
                message: "Redis has no memory left for new tasks (maxmemory); those it has are still served",
                redisAway: true)
        default:
            let transient: Set = [
                "LOADING", "BUSY", "MASTERDOWN", "READONLY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN",
            ]
            self = .internal(message: error.description, redisAway: transient.contains(error.code))
        }
    }

    /// `task t1: timeout_ms: expected…` → `timeout_ms`.
    private static func field(in text: String) -> String? {
        let parts = text.components(separatedBy: ": ").filter { !$0.hasPrefix("task ") }
        guard parts.count > 1, let name = parts.first?.prefix(while: { $0 != " " }) else { return nil }
        return String(name)
    }
}

extension SchedulerError: CustomStringConvertible {
    public var description: String { "\(code): \(message)" }
}
