/// Why the private redis-server does not run. Where the user can correct it, the description says how.
public enum PrivateRedisError: Error, Sendable, CustomStringConvertible {
    /// The program was not found in PATH.
    case executableMissing(String)
    /// The directory cannot be created, read or written, or may not be used.
    case directory(path: String, reason: String)
    /// Another process holds the directory's lock. `processID` is nil if it has not written its ID.
    case locked(path: String, processID: Int32?)
    /// redis-server ended before it replied to PING; `log` contains its last output.
    case exitedAtStart(status: String, log: String)
    /// redis-server did not reply PONG in time; `lastAnswer` is its last reply, or why there was none.
    case notReady(seconds: Double, lastAnswer: String, log: String)
    /// The program could not be started for another reason.
    case spawn(String)
    /// `restart` was called after `stop`, or while another call starts or stops redis-server.
    case notAllowed(String)

    /// What is wrong and, where the user can correct it, what to do.
    public var description: String {
        switch self {
        case .executableMissing(let name):
            "\(name) was not found in PATH. Install it (apt-get install redis-server), or "
                + "use a Redis that is already running."
        case .directory(let path, let reason):
            "the data directory \(path): \(reason)"
        case .locked(let path, let processID?):
            "the data directory \(path) is in use by process \(processID). Stop it, or choose another directory."
        case .locked(let path, nil):
            "the data directory \(path) is in use by another process. Stop it, or choose another directory."
        case .exitedAtStart(let status, let log):
            "redis-server ended while it started (\(status)). Its last output:\n\(log)"
        case .notReady(let seconds, let lastAnswer, let log):
            "redis-server did not reply to PING within \(seconds) s (last: \(lastAnswer)). Its last output:\n\(log)"
        case .spawn(let reason): "redis-server could not be started: \(reason)"
        case .notAllowed(let reason): reason
        }
    }
}
