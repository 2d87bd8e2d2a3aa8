/// Everything that can go wrong between a caller and Redis.
///
/// ``kind`` says what happened, and ``code`` which error the server sent. ``mayHaveBeenApplied`` says whether the
/// command may have been carried out although no reply arrived.
public struct RedisError: Error, Sendable, Equatable {
    /// What happened.
    public enum Kind: Sendable, Equatable {
        /// The server sent an error reply.
        case server
        /// The client could not connect: refused, no such socket, no such host, a TLS error, or a login that was not
        /// completed.
        case connectionFailed
        /// The connection was lost while the command waited for its reply.
        case connectionClosed
        /// No reply, or no connection, by the deadline.
        case deadlineExceeded
        /// The server sent something that is not RESP2.
        case protocolViolation
        /// ``RedisClient/shutdown()`` was called.
        case clientShutDown
        /// A URL or an option is invalid.
        case invalidConfiguration
        /// Too many commands wait on one connection; this one was not sent.
        case overloaded
    }

    /// What happened.
    public let kind: Kind
    /// The first word of a server's error if it is all upper-case letters (`WRONGTYPE`), otherwise `ERR`.
    public let code: String
    /// The full text: a server's error as sent; for the other kinds a sentence that names the endpoint.
    public let message: String
    /// The server: `host:port` or `unix:path`; empty if no server is involved.
    public let endpoint: String
    /// The command was written, but its reply did not arrive: it may or may not have been carried out.
    public let mayHaveBeenApplied: Bool

    /// Creates an error. The code is read from the message of a server's error.
    public init(
        kind: Kind, message: String, endpoint: String = "", mayHaveBeenApplied: Bool = false
    ) {
        self.kind = kind
        self.code = kind == .server ? Self.leadingCode(of: message) : "ERR"
        self.message = message
        self.endpoint = endpoint
        self.mayHaveBeenApplied = mayHaveBeenApplied
    }

    /// Returns `WRONGTYPE` for `WRONGTYPE Operation against…`, and `ERR` for `Error running script`.
    private static func leadingCode(of message: String) -> String {
        let word = message.prefix { $0 != " " }
        let isCode = !word.isEmpty && word.utf8.allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
        return isCode ? String(word) : "ERR"
    }
}

extension RedisError: CustomStringConvertible {
    /// The message, with what the kind adds to it.
    public var description: String {
        switch kind {
        case .server where !endpoint.isEmpty: "Redis at \(endpoint) replied: \(message)"
        case .server: "Redis replied: \(message)"
        default: mayHaveBeenApplied ? "\(message) (the command may have been carried out)" : message
        }
    }
}

extension RedisError {
    /// Error codes that mean that the server did nothing and may accept the same command later.
    private static let notNowCodes: Set<String> = [
        "LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN",
    ]

    /// A command inside a function can fail with the same codes after the function has already written. Redis then
    /// appends its location (`script: name, on @user_function:12`), and the client does not repeat the call.
    private var wasRaisedInsideAScript: Bool { message.contains("script: ") }

    /// The server does not carry out any write, because it is a Redis replica, or has too few of them. That may last:
    /// how long to repeat the command is for its caller to decide.
    package var refusesWrites: Bool {
        kind == .server && ["READONLY", "NOREPLICAS"].contains(code) && !wasRaisedInsideAScript
    }

    /// The server did not carry out the command, and may accept it soon.
    var isNotNow: Bool {
        kind == .server && Self.notNowCodes.contains(code) && !wasRaisedInsideAScript
    }

    /// The connection was lost before the command was written to it.
    var wasNeverSent: Bool { kind == .connectionClosed && !mayHaveBeenApplied }

    /// The server is a Redis replica now: connecting again may reach the new primary.
    var meansDemoted: Bool { kind == .server && (code == "READONLY" || code == "MASTERDOWN") }

    /// The server did not carry out the command, because it is a Redis replica now.
    var wasRefusedByReplica: Bool { meansDemoted && !wasRaisedInsideAScript }

    /// Returns the same error with another value of ``mayHaveBeenApplied``.
    package func applied(_ mayHaveBeenApplied: Bool) -> RedisError {
        RedisError(kind: kind, message: message, endpoint: endpoint, mayHaveBeenApplied: mayHaveBeenApplied)
    }

    static func server(_ message: String, endpoint: String) -> RedisError {
        RedisError(kind: .server, message: message, endpoint: endpoint)
    }

    static func clientShutDown(endpoint: String) -> RedisError {
        RedisError(kind: .clientShutDown, message: "the Redis client for \(endpoint) is shut down", endpoint: endpoint)
    }
}
