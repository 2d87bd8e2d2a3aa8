/// Everything that can go wrong between a caller and Redis.
///
/// The two questions that a caller asks have their own fields: what was it (``kind``, and for a server's error its
/// ``code``), and may the command have been carried out although no reply arrived (``mayHaveBeenApplied``).
public struct RedisError: Error, Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// The server answered with an error.
        case server
        /// No connection could be made: refused, no such socket, no such host, TLS, or a failed login.
        case connectionFailed
        /// The connection was lost while the command waited for its reply.
        case connectionClosed
        /// No reply in time.
        case deadlineExceeded
        /// The server sent something that is not RESP2.
        case protocolViolation
        /// ``RedisClient/shutdown()`` was called.
        case clientShutDown
        /// A URL or an option that cannot be used.
        case invalidConfiguration
        /// Too many commands wait on one connection; this one was not sent.
        case overloaded
    }

    public let kind: Kind
    /// The leading word of a server's error when it is all upper-case letters (`WRONGTYPE`), otherwise `ERR`.
    public let code: String
    /// The full text: a server's error as sent; for the other kinds a sentence that names the endpoint.
    public let message: String
    /// Which server: `host:port` or `unix:path`; empty where no server is involved.
    public let endpoint: String
    /// The command was written and not answered: it may or may not have been carried out.
    public let mayHaveBeenApplied: Bool

    public init(
        kind: Kind, message: String, endpoint: String = "", mayHaveBeenApplied: Bool = false
    ) {
        self.kind = kind
        self.code = kind == .server ? Self.leadingCode(of: message) : "ERR"
        self.message = message
        self.endpoint = endpoint
        self.mayHaveBeenApplied = mayHaveBeenApplied
    }

    /// `WRONGTYPE Operation against…` → `WRONGTYPE`; `Error running script` → `ERR`.
    private static func leadingCode(of message: String) -> String {
        let word = message.prefix { $0 != " " }
        let isCode = !word.isEmpty && word.utf8.allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
        return isCode ? String(word) : "ERR"
    }
}

extension RedisError: CustomStringConvertible {
    public var description: String {
        switch kind {
        case .server where !endpoint.isEmpty: "Redis at \(endpoint) answered: \(message)"
        case .server: "Redis answered: \(message)"
        default: mayHaveBeenApplied ? "\(message) (the command may have been carried out)" : message
        }
    }
}

extension RedisError {
    /// Replies that mean "not now, and nothing was done": the same command may be sent again.
    private static let notNowCodes: Set<String> = [
        "LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS",
    ]

    /// A command that a function ran midway can fail with the same codes after the function's earlier writes stand.
    /// Redis then appends where it happened (`script: name, on @user_function:12`), and we do not repeat it.
    private var wasRaisedInsideAScript: Bool { message.contains("script: ") }

    /// The server certainly did nothing with the command, and may accept it shortly.
    var isNotNow: Bool {
        kind == .server && Self.notNowCodes.contains(code) && !wasRaisedInsideAScript
    }

    /// The connection went away before the command was written to it.
    var wasNeverSent: Bool { kind == .connectionClosed && !mayHaveBeenApplied }

    /// The server is a replica now: whoever resolves the endpoint again may find the new primary.
    var meansDemoted: Bool { kind == .server && code == "READONLY" }

    func applied(_ mayHaveBeenApplied: Bool) -> RedisError {
        RedisError(kind: kind, message: message, endpoint: endpoint, mayHaveBeenApplied: mayHaveBeenApplied)
    }

    static func server(_ message: String, endpoint: String) -> RedisError {
        RedisError(kind: .server, message: message, endpoint: endpoint)
    }

    static func clientShutDown(endpoint: String) -> RedisError {
        RedisError(kind: .clientShutDown, message: "the Redis client for \(endpoint) is shut down", endpoint: endpoint)
    }
}
