import RedisClient
import Switchyard

extension BenchContext {
    /// Redis moves a table that has grown a bucket at a time, with each access to it, which costs up to a third more for
    /// the first tasks after the growth. So it is accessed until that is over: all keys, and the line of pending tasks.
    ///
    /// A table doubles when it is full, and its entries move while others come: what is left to move is less than a
    /// quarter of the depth where that is large.
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
