import RedisClient
import Switchyard

/// A test's own queue, spread over several redis-servers of its own.
package struct PartitionedQueue: Sendable {
    /// The servers; partition `i` is on server `i` modulo their number.
    package let servers: [TestRedis]
    /// The name of the queue, which is random.
    package let name: String
    /// The partitions of the queue.
    package let partitions: Partitions
    /// The handle of the whole queue.
    package let handle: SchedulerHandle
    /// Each partition on its own, for reading its keys and calling functions on it directly.
    package let parts: [TestQueue]

    private init(
        on servers: [TestRedis], partitions count: Int?, settings: [String: Int]
    ) async throws {
        self.servers = servers
        name = "test-" + QueuedTask.randomID()
        partitions = try Partitions(on: servers.map(\.client), count: count)
        handle = try SchedulerHandle(queue: name, partitions: partitions, logger: TestRedis.quiet)
        var parts: [TestQueue] = []
        for index in 0..<partitions.count {
            parts.append(TestQueue(partition: index, of: handle, on: servers[index % servers.count]))
        }
        self.parts = parts
        for functions in partitions.functions(queue: name, logger: TestRedis.quiet) {
            try await partitions.join(functions)
        }
        if !settings.isEmpty { try await handle.configure(settings.map { ($0.key, $0.value) }) }
    }

    /// Runs `body` with a new queue, and then checks that all keys of every partition are consistent.
    /// - Parameters:
    ///   - partitions: The number of partitions; nil: one for each server.
    ///   - settings: Settings by their names in the queue's `config`; durations in milliseconds.
    /// - Throws: what `body` throws, or ``SnapshotViolations``.
    package static func run(
        servers count: Int = 2, _ durability: TestRedis.Durability = .none, partitions: Int? = nil,
        settings: [String: Int] = ["max_queue_length": 1_000_000],
        _ body: (PartitionedQueue) async throws -> Void
    ) async throws {
        var servers: [TestRedis] = []
        for _ in 0..<count { servers.append(try await TestRedis.start(durability)) }
        do {
            let queue = try await PartitionedQueue(on: servers, partitions: partitions, settings: settings)
            try await body(queue)
            try await queue.snapshots()
        } catch {
            for server in servers { await server.stop() }
            throw error
        }
        for server in servers { await server.stop() }
    }

    /// Reads and checks all keys of every partition.
    /// - Throws: ``SnapshotViolations``.
    @discardableResult
    package func snapshots() async throws -> [Snapshot] {
        var snapshots: [Snapshot] = []
        for part in parts { snapshots.append(try await part.snapshot()) }
        return snapshots
    }

    /// Returns a random id whose home is partition `index`.
    package func id(in index: Int) -> String {
        while true {
            let id = QueuedTask.randomID()
            if partitions.home(of: id) == index { return id }
        }
    }
}
