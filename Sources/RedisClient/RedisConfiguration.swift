/// The address of a Redis server, and how to connect and log in to it. Created from a URL (``init(url:)``) or by field.
public struct RedisConfiguration: Sendable, Equatable {
    /// The address of a server.
    public enum Endpoint: Sendable, Equatable, CustomStringConvertible {
        /// A host name or IP address (IPv6 without brackets), and a port.
        case tcp(host: String, port: Int)
        /// The path of a Unix socket.
        case unixSocket(path: String)

        /// `host:port`, `[address]:port` or `unix:path`.
        public var description: String {
            switch self {
            case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
            case .unixSocket(let path): "unix:\(path)"
            }
        }
    }

    /// The address to connect to.
    public var endpoint: Endpoint
    /// The ACL user; nil: the default user. Used only with a password.
    public var username: String?
    /// The password; nil: no AUTH is sent.
    public var password: String?
    /// The number of the database to select.
    public var database: Int = 0
    /// Whether to encrypt the connection.
    public var tls: Bool = false
    /// PEM file of the certificate authorities to trust instead of the system's; only with ``tls``.
    public var caFile: String?
    /// False accepts any certificate; only with ``tls``, and only for tests and private networks.
    public var verifiesCertificates: Bool = true
    /// Time limit of one connection attempt: TCP, TLS and login.
    public var connectTimeout: Duration = .seconds(2)
    /// Time limit of one command, including connecting, unless the call gives another.
    public var commandTimeout: Duration = .seconds(5)
    /// The name that `CLIENT LIST` shows. Redis accepts no spaces in it.
    public var clientName: String = "redis-client"

    /// Creates a configuration with the default values.
    public init(endpoint: Endpoint) {
        self.endpoint = endpoint
    }
}

extension RedisConfiguration: CustomStringConvertible {
    /// The configuration as a URL, with `***` in place of the password.
    public var description: String {
        let login = password == nil ? "" : "\(username ?? ""):***@"
        let options = database == 0 ? "" : "/\(database)"
        switch endpoint {
        case .tcp: return "\(tls ? "rediss" : "redis")://\(login)\(endpoint)\(options)"
        case .unixSocket(let path): return "unix://\(login)\(path)" + (database == 0 ? "" : "?db=\(database)")
        }
    }
}
