/// The address of a Redis server, and how to connect and log in to it. Created from a URL (``init(url:)``) or by field.
public struct RedisConfiguration: Sendable, Equatable {
    /// The address of a server.
    public enum Endpoint: Sendable, Hashable, CustomStringConvertible {
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

    /// How the server that has the data is found.
    public enum Deployment: Sendable, Equatable {
        /// It is at ``RedisConfiguration/endpoint``.
        case single
        /// Redis Sentinel knows which of several servers is the primary.
        case sentinel(Sentinel)
        /// Redis Cluster: each primary has a part of the hash slots. A node that is up knows all of them.
        case cluster(nodes: [Endpoint])
    }

    /// The sentinels that watch over a primary and its Redis replicas.
    public struct Sentinel: Sendable, Equatable {
        /// The addresses of sentinels; at least one.
        public var sentinels: [Endpoint]
        /// The name that the sentinels have for the primary.
        public var name: String
        /// The ACL user at the sentinels; nil: the default user.
        public var username: String?
        /// The password at the sentinels; nil: no AUTH is sent to them.
        public var password: String?
    }

    /// The address to connect to. With Sentinel or Cluster the first one that was given, which is for messages only.
    public var endpoint: Endpoint
    /// How the server that has the data is found.
    public var deployment = Deployment.single
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
    /// PEM file of the client's own certificate, and of those up to its authority, for servers that ask for it; only
    /// with ``tls`` and ``keyFile``.
    public var certificateFile: String?
    /// PEM file of the private key of ``certificateFile``.
    public var keyFile: String?
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
        let scheme = tls ? "rediss" : "redis"
        let asOption = database == 0 ? "" : "?db=\(database)"
        switch (deployment, endpoint) {
        case (.sentinel(let sentinel), _):
            return "\(scheme)-sentinel://\(login)\(Self.list(sentinel.sentinels))/\(sentinel.name)\(asOption)"
        case (.cluster(let nodes), _): return "\(scheme)-cluster://\(login)\(Self.list(nodes))"
        case (.single, .tcp): return "\(scheme)://\(login)\(endpoint)" + (database == 0 ? "" : "/\(database)")
        case (.single, .unixSocket(let path)): return "unix://\(login)\(path)\(asOption)"
        }
    }

    private static func list(_ endpoints: [Endpoint]) -> String {
        endpoints.map(\.description).joined(separator: ",")
    }
}
