/// What can go wrong, by name. `Nemesis` makes it happen.
package enum FaultKind: String, Sendable, CaseIterable {
    /// A worker, and with it its processes, ends by SIGKILL, and starts again with the same id.
    case killWorker = "kill-worker"
    /// A worker is stopped for longer than its lease, and continued.
    case suspendWorker = "suspend-worker"
    /// A replica ends by SIGKILL, and starts again.
    case killReplica = "kill-replica"
    /// Every replica ends, and starts again after some seconds.
    case killReplicas = "kill-replicas"
    /// A replica is stopped, and continued.
    case suspendReplica = "suspend-replica"
    /// redis-server ends by SIGKILL, and starts again with its append-only file.
    case killRedis = "kill-redis"
    /// redis-server is stopped for longer than all leases, and continued.
    case suspendRedis = "suspend-redis"
    /// Everything is stopped and continued, as on a virtual machine that is suspended.
    case suspendAll = "suspend-all"
    /// Replies are lost after their commands took effect, and requests before.
    case lostReplies = "lost-replies"
    /// A worker's connections stay open, and nothing passes.
    case halfOpen = "half-open"
    /// A worker cannot connect.
    case refusedWorker = "refused-worker"
    /// Everything is slow, by chance.
    case latency
    /// Redis closes the connections of all subscribers.
    case killSubscribers = "kill-subscribers"
    /// Redis closes all connections.
    case killConnections = "kill-connections"
    /// The function library is gone.
    case flushFunctions = "flush-functions"
    /// A script runs for seconds, and Redis serves nobody else.
    case busyRedis = "busy-redis"
    /// Redis's memory is full.
    case fullMemory = "full-memory"
    /// redis-server ends while it writes: its append-only file ends inside a transaction. It starts, and later again.
    case tornFile = "torn-file"
    /// redis-server ends, and takes seconds to load its file: it replies LOADING.
    case slowLoad = "slow-load"
    /// The disk of the append-only file is full, and later has space again.
    case diskFull = "disk-full"
    /// All data is gone.
    case flushAll = "flush-all"
    /// The clock of Redis's host is set forward, and later to the right time again.
    case clockForward = "clock-forward"
    /// The clock of Redis's host is set back, and later to the right time again.
    case clockBack = "clock-back"
    /// What a worker sends does not arrive.
    case cutRequests = "cut-requests"
    /// What is sent to a worker does not arrive.
    case cutReplies = "cut-replies"
    /// Packets from and to a worker are lost.
    case packetLoss = "packet-loss"
    /// The replicas go back to an older version with an older function library, and forward again, one by one.
    case rollingUpgrade = "rolling-upgrade"
    /// Redis, a worker, a replica and the network fail at once.
    case allAtOnce = "all-at-once"
    /// The primary of Redis Sentinel ends by SIGKILL, or a sentinel is told to replace it (`SENTINEL FAILOVER`).
    case sentinelFailover = "sentinel-failover"
    /// The primary in a Redis Cluster that has the queue ends by SIGKILL, or is replaced by `CLUSTER FAILOVER`.
    case clusterFailover = "cluster-failover"
    /// The hash slot of the queue moves to another primary of the Redis Cluster, and back.
    case reshard

    /// Whether another server has the queue afterwards.
    var movesQueue: Bool { [.sentinelFailover, .clusterFailover, .reshard].contains(self) }
}

/// One fault that struck.
struct FaultRecord: Sendable {
    var kind: FaultKind
    /// The processes that it struck; empty: all.
    var targets: [String]
    var from: Uptime
    /// When its cause was gone.
    var to: Uptime
    /// Whether it struck together with others, so that its own recovery cannot be told.
    var isPart = false
    /// What the server that has the queue afterwards may not know of what the one before has acknowledged.
    var forgets = Forgetting.nothing

    enum Forgetting: Sendable {
        case nothing
        /// The last changes before the fault, at whose beginning the former server ended.
        case before
        /// Those, and changes until the queue has its other server: meanwhile the former one takes them.
        case untilChange
    }
}
