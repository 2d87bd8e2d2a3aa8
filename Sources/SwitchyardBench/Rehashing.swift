import RedisClient
import Switchyard

extension BenchContext {
    /// Completes the incremental rehashing of the keyspace and of the queue's `pending` set.
    ///
    /// When a hash table has grown, Redis moves one bucket with each access to it, which costs the first tasks after
    /// the growth up to a third more. So this accesses both tables until all buckets have moved. A table doubles when
    /// it is full, and buckets move while entries are added: of a large table, less than a quarter is left to move.
    func settle(_ queue: String, depth: Int) async throws {
        guard depth > 0 else { return }
        let keys = Keys(queue: queue)
        for command in [
            RedisCommand("EXISTS", .string(keys.task("nobody"))),
            RedisCommand("ZSCORE", .string(keys.pending), "nobody"),
        ] {
            let commands = Array(repeating: command, count: 1000)
            let accesses = min(depth, depth / 4 + 50_000)
            for _ in 0...(accesses / commands.count) { _ = try await client.pipeline(commands) }
        }
    }
}
