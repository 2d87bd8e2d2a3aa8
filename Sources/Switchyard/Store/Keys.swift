import RedisClient

/// The names of the keys and channels of a queue, or of one of its partitions. This file and `Functions/` are the only
/// places that know them.
public struct Keys: Sendable, Equatable {
    public let queue: String
    public let partition: Int
    /// `Q` for the first partition of queue Q, which for most queues is all of it; `Q/1`, `Q/2`, … for the others. No
    /// queue's name has a slash.
    public let place: String
    /// `switchyard:{Q}:` or `switchyard:{Q/1}:`. The braces make it one slot of a Redis Cluster.
    public let prefix: String

    /// - Parameter queue: a valid ``Name``.
    public init(queue: String, partition: Int = 0) {
        self.queue = queue
        self.partition = partition
        self.place = partition == 0 ? queue : "\(queue)/\(partition)"
        self.prefix = "switchyard:{\(place)}:"
    }

    /// SET of the queues that replicas look after. It belongs to no queue, so it is written outside their functions.
    public static let queues = "switchyard:queues"

    /// The keys that a function call declares, after their number. Two of them, so that in a Redis Cluster a slot that migrates
    /// replies TRYAGAIN instead of running a function on half of the queue.
    var declared: [RedisArgument] { [2, .string(prefix), .string(config)] }

    public func task(_ id: String) -> String { "\(prefix)task:\(id)" }
    public func log(_ id: String) -> String { "\(prefix)log:\(id)" }
    public func batch(_ id: String) -> String { "\(prefix)batch:\(id)" }
    public func worker(_ id: String) -> String { "\(prefix)worker:\(id)" }
    public func attempts(_ worker: String) -> String { "\(prefix)attempts:\(worker)" }
    public func wake(_ worker: String) -> String { "\(prefix)wake:\(worker)" }
    public func control(_ worker: String) -> String { "\(prefix)control:\(worker)" }
    public var pending: String { prefix + "pending" }
    public var held: String { prefix + "held" }
    public var leases: String { prefix + "leases" }
    public var finished: String { prefix + "finished" }
    public var workers: String { prefix + "workers" }
    public var idle: String { prefix + "idle" }
    public var stats: String { prefix + "stats" }
    public var config: String { prefix + "config" }
    public var results: String { prefix + "results" }
    public var events: String { prefix + "events" }
    public var reports: String { prefix + "reports" }
}
