import Switchyard

/// Where the server listens, and its limits on clients.
public struct HTTPServerOptions: Sendable {
    /// Loopback by default: the server has no authentication, so whoever reaches it may do everything.
    public var host = "127.0.0.1"
    /// The port to listen on; 0 lets the system choose one.
    public var port = 8080
    /// Names by which clients may address the server, besides `localhost`, the listening host and any IP address. "*"
    /// allows all. Another name in a request's `Host` is refused with 403: it may be a web page's (DNS rebinding).
    public var allowedHosts: [String] = []
    /// Limit on a request's body; a larger one is refused with 413. A task itself may have at most 1 MiB.
    public var maxBodyBytes = 4 << 20
    /// The same limit for a batch, which may have at most 50,000 tasks.
    public var maxBatchBytes = 64 << 20
    /// The queue of a request that names none.
    public var defaultQueue = "default"
    /// Limit on open connections; further ones get 503, except for `/livez` and `/readyz`. They also do when less than
    /// a quarter of the files that the process may open is free, at most 512.
    public var maxConnections = 4096
    /// A connection is closed after this long without a request, or without progress of a request's body.
    public var idleTimeout: Duration = .seconds(60)
    /// Time limit for the head of the first request on a connection.
    public var headTimeout: Duration = .seconds(10)
    /// Time limit for the arrival of a request's whole body.
    public var bodyTimeout: Duration = .seconds(30)
    /// How long a large body waits for its turn: 8 MiB of bodies of more than 64 KiB are handled at once, and one batch
    /// of that size. Then it gets 503.
    public var largeBodyPatience: Duration = .seconds(10)
    /// Upper limit of `?wait=`.
    public var maxWait: Duration = .seconds(60)
    /// Limit on clients that follow logs at once: each needs a connection to Redis. They are also limited to a
    /// sixteenth of the files that the process may open.
    public var maxLogFollowers = 100

    /// Creates options with the default values.
    public init() {}
}
