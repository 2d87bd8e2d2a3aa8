import Switchyard
import SwitchyardTesting
import Testing

/// The proof of the proof: each kind of damage is seen.
@Suite("The snapshot")
struct SnapshotTests {
    @Test(arguments: [
        ["ZREM", "{}pending", "p"], ["ZADD", "{}pending", "1", "p"], ["ZADD", "{}held", "1", "p"],
        ["ZADD", "{}finished", "1", "ghost"], ["HSET", "{}task:p", "state", "running"],
        ["HSET", "{}task:p", "state", "nonsense"], ["HSET", "{}task:p", "held_by", "retry"],
        ["HSET", "{}task:p", "priority", "low"], ["HSET", "{}task:p", "worker", "w"], ["DEL", "{}task:p"],
        ["HDEL", "{}attempts:holder", "r"], ["HSET", "{}attempts:holder", "r", "2:1"],
        ["HSET", "{}attempts:holder", "ghost", "1:0"], ["HSET", "{}attempts:nobody", "r", "1:0"],
        ["HINCRBY", "{}stats", "completed", "1"], ["HINCRBY", "{}stats", "assigned", "1"],
        ["HINCRBY", "{}stats", "slots", "1"], ["ZADD", "{}idle", "1", "nobody"], ["RPUSH", "{}wake:nobody", "1"],
        ["RPUSH", "{}wake:holder", "1", "1"], ["ZREM", "{}workers", "holder"], ["HINCRBY", "{}batch:b", "total", "1"],
        ["HINCRBY", "{}batch:b", "pending", "1"], ["SET", "{}new", "1"], ["XADD", "{}log:ghost", "*", "a", "b"],
        ["HDEL", "{}config", "instance"], ["HSET", "{}task:h", "due_at", "1"],
        ["ZADD", "{}lanes", "1", "gpu"], ["ZREM", "{}lanes", "gpu"], ["ZREM", "{}pending:gpu", "l"],
        ["HINCRBY", "{}stats", "in_lanes_normal", "1"], ["SADD", "{}running:k", "p"], ["SREM", "{}running:k", "k1"],
        ["ZREM", "{}blocked:k", "k2"], ["ZREM", "{}blocked", "k2"], ["HSET", "{}class", "nobody", "gpu"],
        ["HINCRBY", "{}classes", "gpu", "1"], ["HSET", "{}reserved", "gpu", "nobody"],
        ["HSET", "{}attempts:holder", "r", "1:1 +cpu=4"], ["SET", "{}unique:u", "ghost"],
        ["RPUSH", "{}dependents:p", "d"], ["DEL", "{}dependents:p"], ["HSET", "{}task:d", "deps_left", "2"],
        ["RPUSH", "{}batch_work", "open nothing"], ["DEL", "{}members:b"], ["ZADD", "{}staged_batches", "1", "b"],
        ["RPUSH", "{}dependents:c", "d"], ["SET", "{}affinity:x", "w"],
    ])
    func seesEveryKindOfDamage(command: [String]) async throws {
        let queue = try await TestQueue()
        for (id, situation) in [("h", Situation.heldByRetry), ("r", .running), ("c", .completed)] {
            try await queue.put(id, in: situation)
        }
        let key = ["concurrency_key": "k"]
        try await queue.submit([("k1", key), ("k2", key)])
        try await queue.take(TestQueue.holder, max: 2)
        try await queue.call("submit", "batch", "b", "task", "p")
        try await queue.submit([("l", ["requires": "gpu"]), ("d", ["depends_on": "p"]), ("u", ["unique_key": "u"])])
        let before = try await queue.snapshot()
        try await queue.raw(command[0], Array(command.dropFirst()))
        let after = try await Snapshot(reading: queue.keys, client: queue.redis.client)
        #expect(!after.violations.isEmpty)
        #expect(!after.changes(since: before).isEmpty)
    }
}
