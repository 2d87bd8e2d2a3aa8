import Switchyard

/// Where the server listens, and the bounds on what it takes from a client.
public struct HTTPServerOptions: Sendable {
    /// Loopback: whoever reaches the server may do everything.
    public var host = "127.0.0.1"
    /// 0 lets the system choose one.
    public var port = 8080
    /// A larger body is refused with 413. A task's own limit is 1 MiB.
    public var maxBodyBytes = 4 << 20
    /// The same for a batch, whose own limit is 50,000 tasks.
    public var maxBatchBytes = 64 << 20
    /// The queue of a request that names none.
    public var defaultQueue = "default"
    /// Connections beyond this many wait until another closes.
    public var maxConnections = 4096
    /// A connection without a request, and a request whose body stands still, are closed after this long.
    public var idleTimeout: Duration = .seconds(60)
    /// A request's whole body must arrive within this time.
    public var bodyTimeout: Duration = .seconds(30)
    /// The longest `?wait=`.
    public var maxWait: Duration = .seconds(60)
    /// How many may follow logs at once: each holds a connection to Redis.
    public var maxLogFollowers = 100

    public init() {}
}
