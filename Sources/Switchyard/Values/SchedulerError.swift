/// Every error that the scheduler throws. The message names the task, the worker or the field, what was expected and
/// what was found.
public enum SchedulerError: Error, Sendable, Equatable {
    /// The queue has as many pending tasks as its limit allows.
    case queueFull(message: String)
    /// The queue is draining, and takes no new tasks.
    case queueDraining(message: String)
    /// There is no task, or no batch, with this id.
    case taskNotFound(message: String)
    /// There is no such queue: nothing has been submitted to it.
    case queueNotFound(message: String)
    /// Another task, or another batch, has this id.
    case taskExists(message: String)
    /// No registered worker could run the task, and the caller asked for a refusal in that case.
    case noWorkers(message: String)
    /// The worker is not registered, or another process has registered with its id.
    case workerNotFound(message: String)
    /// The task's state does not allow the call. `leaseLost`: the attempt that the call names has no lease any more.
    case invalidStateTransition(message: String, leaseLost: Bool)
    /// The input is invalid. `field`: the part that is at fault, if it is a single one.
    case invalidInput(field: String?, message: String)
    /// Another failure. `redisAway`: Redis could not be reached or is not ready, so a retry may succeed.
    case `internal`(message: String, redisAway: Bool)

    /// The error's name in the HTTP interface, which clients test for.
    public var code: String {
        switch self {
        case .queueFull: "QueueFull"
        case .queueDraining: "QueueDraining"
        case .taskNotFound: "TaskNotFound"
        case .queueNotFound: "QueueNotFound"
        case .taskExists: "TaskExists"
        case .noWorkers: "NoWorkers"
        case .workerNotFound: "WorkerNotFound"
        case .invalidStateTransition: "InvalidStateTransition"
        case .invalidInput: "BadRequest"
        case .internal: "Internal"
        }
    }

    /// What happened, for people.
    public var message: String {
        switch self {
        case .queueFull(let message), .queueDraining(let message), .taskNotFound(let message),
            .queueNotFound(let message),
            .taskExists(let message), .noWorkers(let message), .workerNotFound(let message),
            .invalidStateTransition(let message, _), .invalidInput(_, let message), .internal(let message, _):
            message
        }
    }

    /// True if another process has registered with the worker's id. This process must stop, and not register again.
    public var isReplacement: Bool {
        if case .workerNotFound(let message) = self { message.contains(" is another process now") } else { false }
    }

    /// True if the input is invalid: the same call fails again.
    public var isInvalidInput: Bool { if case .invalidInput = self { true } else { false } }

    /// True if a submission has more tasks than its queue may ever hold, so that a retry cannot succeed.
    public var canNeverFit: Bool {
        if case .queueFull(let message) = self { message.contains(" can never hold ") } else { false }
    }

    /// The part of the input that is at fault; nil for other errors, and if it is not a single part.
    public var field: String? {
        if case .invalidInput(let field, _) = self { field } else { nil }
    }
}

extension SchedulerError: CustomStringConvertible {
    /// The code and the message.
    public var description: String { "\(code): \(message)" }
}
