/// Why the private redis-server does not run. Each text says what to do, where something can be done.
public enum PrivateRedisError: Error, Sendable, CustomStringConvertible {
    /// There is no such program in PATH.
    case executableMissing(String)
    /// The directory cannot be made, entered, or written.
    case directory(path: String, reason: String)
    /// Another process holds the directory's lock. `processID` is nil if it did not write its number.
    case locked(path: String, processID: Int32?)
    /// redis-server ended before it answered; `log` holds its last lines.
    case exitedAtStart(status: String, log: String)
    /// No PONG until the deadline; `lastAnswer` is what came instead.
    case notReady(seconds: Double, lastAnswer: String, log: String)
    /// The program could not be started for another reason.
    case spawn(String)
    /// `restart` after `stop`, or a second `restart` while one is under way.
    case notAllowed(String)

    public var description: String {
        switch self {
        case .executableMissing(let name):
            "\(name) was not found in PATH. Install it (apt-get install redis-server), or use a Redis that runs already."
        case .directory(let path, let reason):
            "the data directory \(path): \(reason)"
        case .locked(let path, let processID?):
            "the data directory \(path) is in use by process \(processID). Stop it, or choose another directory."
        case .locked(let path, nil):
            "the data directory \(path) is in use by another process. Stop it, or choose another directory."
        case .exitedAtStart(let status, let log):
            "redis-server ended at its start (\(status)). Its last words:\n\(log)"
        case .notReady(let seconds, let lastAnswer, let log):
            "redis-server did not answer PING within \(seconds) s (last: \(lastAnswer)). Its last words:\n\(log)"
        case .spawn(let reason): "redis-server could not be started: \(reason)"
        case .notAllowed(let reason): reason
        }
    }
}
