/// Where Redis is and how to log in. Made from a URL (see ``init(url:)``) or field by field.
public struct RedisConfiguration: Sendable, Equatable {
    public enum Endpoint: Sendable, Equatable, CustomStringConvertible {
        case tcp(host: String, port: Int)
        case unixSocket(path: String)

        public var description: String {
            switch self {
            case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
            case .unixSocket(let path): "unix:\(path)"
            }
        }
    }

    public var endpoint: Endpoint
    public var username: String?
    public var password: String?
    public var database: Int = 0
    public var tls: Bool = false
    /// PEM file of the authorities to trust instead of the system's; only with ``tls``.
    public var caFile: String?
    /// False accepts any certificate; only with ``tls``, and only for tests and private networks.
    public var verifiesCertificates: Bool = true
    /// For one attempt: TCP, TLS and login.
    public var connectTimeout: Duration = .seconds(2)
    /// For one command, connecting included, unless a call says otherwise.
    public var commandTimeout: Duration = .seconds(5)
    /// What `CLIENT LIST` shows. Redis accepts no spaces in it.
    public var clientName: String = "redis-client"

    public init(endpoint: Endpoint) {
        self.endpoint = endpoint
    }
}

extension RedisConfiguration: CustomStringConvertible {
    /// The configuration as a URL, the password replaced.
    public var description: String {
        let login = password == nil ? "" : "\(username ?? ""):***@"
        let options = database == 0 ? "" : "/\(database)"
        switch endpoint {
        case .tcp: return "\(tls ? "rediss" : "redis")://\(login)\(endpoint)\(options)"
        case .unixSocket(let path): return "unix://\(login)\(path)" + (database == 0 ? "" : "?db=\(database)")
        }
    }
}
