import Logging
import RedisClient

/// The number of partitions of a queue, and the Redis servers that have them: partition k is on server k mod M, where M
/// is the number of servers. Every process that serves or uses a queue must have the same servers in the same order.
///
/// A Redis Cluster counts as one server: the names of the partitions spread them over its hash slots
/// (``PartitionNames``), and its primaries have the slots.
///
/// One partition on one server is the default, and has no extra cost.
public struct Partitions: Sendable {
    /// The maximum number of partitions. An idle worker, a look-up of an unknown id and each read of the whole queue
    /// cost one call for each partition.
    public static let most = 64

    /// A client for each server. They are shared, and shut down by their owner.
    package let instances: [RedisClient]
    /// Whether each server replies; nil if this process waits for a server that is away.
    package private(set) var presences: RedisPresences?
    /// The number of partitions.
    public let count: Int

    /// One partition on one server.
    public init(_ client: RedisClient) {
        instances = [client]
        count = 1
    }

    /// Partitions on several servers, or on one Redis Cluster.
    /// - Parameter count: nil makes one partition for each server, or one in a Redis Cluster.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``.
    public init(on instances: [RedisClient], count: Int? = nil) throws(SchedulerError) {
        let count = count ?? instances.count
        guard (max(1, instances.count)...Self.most).contains(count), !instances.isEmpty else {
            throw .invalidInput(
                field: "partitions",
                message: "partitions: expected at least one for each of \(instances.count) Redis servers and at most "
                    + "\(Self.most), found \(count)")
        }
        if instances.count > 1, instances.contains(where: \.isCluster) {
            throw .invalidInput(
                field: "redis",
                message: "redis: expected one Redis Cluster, or servers that are no Cluster; found "
                    + "\(instances.count) of which at least one is a Cluster. One queue spreads over the primaries of "
                    + "a Cluster with --partitions")
        }
        self.instances = instances
        self.count = count
    }

    /// Whether the partitions are in a Redis Cluster.
    package var areInCluster: Bool { instances[0].isCluster }

    /// Returns the home of a task, batch, schedule or key with this name: the index of a partition, from 0.
    public func home(of name: String) -> Int {
        count == 1 ? 0 : NameHash.slot(name) % count
    }

    /// Returns the share of partition `index` in a number that holds for the whole queue. The shares add up to `total`.
    func share(of total: Int, in index: Int) -> Int {
        total / count + (index < total % count ? 1 : 0)
    }

    /// Returns the index of the server that has partition `index`.
    func instance(of index: Int) -> Int { index % instances.count }

    /// The same partitions, for a process that does not wait for a server that is away.
    func watched() -> Partitions {
        var watched = self
        watched.presences = RedisPresences(instances)
        return watched
    }

    /// Returns the functions of each partition of a queue, in order.
    /// - Parameter queue: a valid ``Name``.
    package func functions(queue: String, logger: Logger) -> [QueueFunctions] {
        let numbers = numbers(of: queue)
        return (0..<count).map { index in
            let server = instance(of: index)
            let prefix = Keys(queue: queue, number: numbers[index]).prefix
            return QueueFunctions(
                queue: queue, partition: index, number: numbers[index], client: instances[server],
                presence: presences?.presence(of: server, key: prefix), logger: logger)
        }
    }

    /// Returns the number in the name of each partition.
    func numbers(of queue: String) -> [Int] {
        areInCluster ? PartitionNames.numbers(queue: queue, count: count) : Array(0..<count)
    }
}
