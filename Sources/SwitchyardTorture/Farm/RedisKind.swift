/// What Redis is in a run.
package enum RedisKind: String, Sendable, CaseIterable {
    /// One redis-server, behind a proxy for each process.
    case server
    /// A primary, two Redis replicas and three sentinels. The processes connect to them without proxies, because they
    /// learn the addresses from the sentinels.
    case sentinel
    /// A Redis Cluster of three primaries with a Redis replica each, also without proxies.
    case cluster

    /// The faults that can be made on it.
    package var faults: [FaultKind] {
        switch self {
        case .server: FaultKind.allCases.filter { !$0.movesQueue }
        case .sentinel: Self.everywhere + [.sentinelFailover]
        case .cluster: Self.everywhere + [.clusterFailover, .reshard]
        }
    }

    /// Those that need neither a proxy nor the files of a server.
    private static let everywhere: [FaultKind] = [
        .killWorker, .suspendWorker, .killReplica, .killReplicas, .suspendReplica, .killSubscribers,
        .killConnections, .flushFunctions,
    ]

    /// For how many Redis replicas a submission waits: all that the primary has.
    var redisReplicas: Int {
        switch self {
        case .server: 0
        case .sentinel: 2
        case .cluster: 1
        }
    }
}
