import RedisClient

/// The names of the keys and channels of one partition of a queue. Only this file and `Functions/` build them.
package struct Keys: Sendable, Equatable {
    /// The queue's name.
    package let queue: String
    /// The index of the partition, from 0.
    package let partition: Int
    /// The name of the partition: `Q` for the first partition of queue Q, which is the only one of most queues; `Q/1`,
    /// `Q/2`, … for the others. In a Redis Cluster the numbers have gaps (``PartitionNames``). A queue's name has no
    /// slash.
    package let name: String
    /// `switchyard:{Q}:` or `switchyard:{Q/1}:`. The braces put all keys of the partition into one hash slot of a Redis
    /// Cluster.
    package let prefix: String
    /// What the names of the channels begin with: ``prefix``, and `db3:` in database 3. Channels belong to the server
    /// and not to a database; in database 0 their names are the same as ever.
    package let channels: String

    /// The keys of a partition.
    /// - Parameters:
    ///   - queue: a valid ``Name``.
    ///   - number: the number in the partition's name; nil: its index.
    ///   - database: the number of the Redis database that has the partition.
    package init(queue: String, partition: Int = 0, number: Int? = nil, database: Int = 0) {
        let number = number ?? partition
        self.queue = queue
        self.partition = partition
        self.name = number == 0 ? queue : "\(queue)/\(number)"
        self.prefix = "switchyard:{\(name)}:"
        self.channels = database == 0 ? prefix : "\(prefix)db\(database):"
    }

    /// SET of the queues that replicas serve. It belongs to no queue, so it is written outside the functions.
    package static let queues = "switchyard:queues"

    /// The key arguments of a function call, after their number. There are two, because Redis Cluster then replies
    /// TRYAGAIN while it migrates the hash slot, instead of running a function on a part of the queue.
    var declared: [RedisArgument] { [2, .string(prefix), .string(config)] }

    /// HASH of a task.
    package func task(_ id: String) -> String { "\(prefix)task:\(id)" }
    /// STREAM of a task's output.
    package func log(_ id: String) -> String { "\(prefix)log:\(id)" }
    /// HASH of a batch.
    package func batch(_ id: String) -> String { "\(prefix)batch:\(id)" }
    /// HASH of a worker.
    package func worker(_ id: String) -> String { "\(prefix)worker:\(id)" }
    /// HASH of a worker's leases.
    package func attempts(_ worker: String) -> String { "\(prefix)attempts:\(worker)" }
    /// LIST of a worker's wake-ups.
    package func wake(_ worker: String) -> String { "\(prefix)wake:\(worker)" }
    /// The channel with orders for a worker.
    package func control(_ worker: String) -> String { "\(channels)control:\(worker)" }
    /// ZSET of the pending tasks without a lane.
    package var pending: String { prefix + "pending" }
    /// ZSET of the pending tasks that wait for a time.
    package var held: String { prefix + "held" }
    /// ZSET of the assigned and running tasks.
    package var leases: String { prefix + "leases" }
    /// ZSET of the ended tasks.
    package var finished: String { prefix + "finished" }
    /// ZSET of the registered workers.
    package var workers: String { prefix + "workers" }
    /// ZSET of the idle workers without labels and capacity.
    package var idle: String { prefix + "idle" }
    /// HASH of the counters.
    package var stats: String { prefix + "stats" }
    /// HASH of the settings.
    package var config: String { prefix + "config" }
    /// The channel with the tasks that ended.
    package var results: String { channels + "results" }
    /// The channel with all other changes of tasks and batches.
    package var events: String { channels + "events" }
    /// The channel for the reports of workers that can only publish.
    package var reports: String { channels + "reports" }
}
