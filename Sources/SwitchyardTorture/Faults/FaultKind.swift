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
}

/// One fault that struck.
struct FaultRecord: Sendable {
    var kind: FaultKind
    /// The processes that it struck; empty: all.
    var targets: [String]
    var from: Uptime
    /// When its cause was gone.
    var to: Uptime
}
