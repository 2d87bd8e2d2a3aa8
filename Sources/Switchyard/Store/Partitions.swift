import Logging
import RedisClient

/// Over how many hash slots a queue is spread, and on which Redis instances they are: partition k is on instance k mod M, M
/// being the number of instances. Every process that works with a queue must be given the same, in the same order.
///
/// One partition on one instance is the plain case, and costs nothing.
public struct Partitions: Sendable {
    /// An idle worker, a look-up in vain and every look at a whole queue cost a call for each partition.
    public static let most = 64

    /// Shared, and shut down by their owner.
    public let instances: [RedisClient]
    public let count: Int

    /// One partition.
    public init(_ client: RedisClient) {
        instances = [client]
        count = 1
    }

    /// - Parameter count: nil: one partition for each instance.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``.
    public init(on instances: [RedisClient], count: Int? = nil) throws(SchedulerError) {
        let count = count ?? instances.count
        guard (max(1, instances.count)...Self.most).contains(count), !instances.isEmpty else {
            throw .invalidInput(
                field: "partitions",
                message: "partitions: expected at least one for each of \(instances.count) Redis instances and at most "
                    + "\(Self.most), found \(count)")
        }
        self.instances = instances
        self.count = count
    }

    /// The partition of a task, batch, schedule or key of this name, from 0.
    public func home(of name: String) -> Int {
        count == 1 ? 0 : NameHash.slot(name) % count
    }

    /// What partition `index` takes of a number that is meant for the whole queue; the parts add up to it.
    func share(of total: Int, in index: Int) -> Int {
        total / count + (index < total % count ? 1 : 0)
    }

    func instance(of index: Int) -> Int { index % instances.count }

    /// - Parameter queue: a valid ``Name``.
    public func functions(queue: String, logger: Logger) -> [QueueFunctions] {
        (0..<count).map { index in
            QueueFunctions(queue: queue, partition: index, client: instances[instance(of: index)], logger: logger)
        }
    }
}
