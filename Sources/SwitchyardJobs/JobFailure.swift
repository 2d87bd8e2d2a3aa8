import NIOCore
import Switchyard

/// A job that ended without success.
public enum JobFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// Its last attempt failed, and no retry was left or allowed.
    case failed(TaskFailure, attempts: Int)
    /// Its last attempt exceeded its time limit.
    case timedOut(TaskFailure, attempts: Int)
    /// Somebody cancelled it, or a job that it depends on did not complete.
    case cancelled(reason: String)
    /// It completed, and its result is not what the job's type says.
    case unreadableResult(String)

    public var description: String {
        switch self {
        case .failed(let failure, let attempts):
            "failed after \(attempts) attempts: \(failure.message) (\(failure.code))"
        case .timedOut(let failure, let attempts): "timed out after \(attempts) attempts: \(failure.message)"
        case .cancelled(let reason): "cancelled: \(reason)"
        case .unreadableResult(let reason): "its result cannot be read: \(reason)"
        }
    }
}

/// Thrown by a handler: a retry would not help. The job fails, whatever retries are left.
public struct PermanentFailure: Error, Sendable, CustomStringConvertible {
    public var code: String
    public var message: String

    /// - Parameter code: a word for programs, kept with the task.
    public init(_ message: String, code: String = "Permanent") {
        self.message = message
        self.code = code
    }

    public var description: String { message }
}

/// Thrown by a handler: the attempt failed, and the next waits this long in place of the queue's backoff. It uses up a
/// retry; without any left the job fails.
public struct RetryLater: Error, Sendable, CustomStringConvertible {
    /// Up to 30 days.
    public var after: Duration
    public var message: String

    public init(after: Duration, _ message: String = "the handler asked for a retry") {
        self.after = after
        self.message = message
    }

    public var description: String { message }
}

extension TaskFailure {
    /// An error may carry a whole page; its message is shown in lists.
    private static let maxMessageCharacters = 10_000

    /// What is kept of a thrown error: its type as the code, its description as the message.
    init(thrown error: any Error) {
        switch error {
        case let failure as PermanentFailure: self.init(code: failure.code, message: failure.message)
        case let later as RetryLater: self.init(code: "RetryLater", message: later.message)
        default: self.init(code: "\(type(of: error))", message: String("\(error)".prefix(Self.maxMessageCharacters)))
        }
    }
}
