import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Tests the snapshot itself: it reports each kind of damage.
@Suite("The snapshot")
struct SnapshotTests {
    private static let far = "9007199254740991"

    static let tasks: [[String]] = [
        ["ZREM", "{}pending", "p"], ["ZADD", "{}pending", "1", "p"], ["ZADD", "{}held", "1", "p"],
        ["ZADD", "{}finished", "1", "ghost"], ["HSET", "{}task:p", "state", "running"],
        ["HSET", "{}task:p", "state", "nonsense"], ["HSET", "{}task:p", "held_by", "retry"],
        ["HSET", "{}task:p", "priority", "low"], ["HSET", "{}task:p", "worker", "w"], ["DEL", "{}task:p"],
        ["HSET", "{}task:p", "tag", "1"], ["HSET", "{}task:p", "uses", "1"], ["HDEL", "{}task:d", "uses"],
        ["HDEL", "{}task:p", "uses"], ["HSET", "{}task:k2", "concurrency_limit", "2"],
        ["HSET", "{}task:r2", "rate_burst", "9"], ["PEXPIRE", "{}task:p", "100000"],
        ["HSET", "{}task:h", "due_at", "1"],
        ["HSET", "{}task:h", "attempt", "3"], ["HDEL", "{}task:h", "attempt:1"],
        ["ZREM", "{}finished:failed", "f"], ["ZADD", "{}finished:failed", "1", "f"],
        ["ZADD", "{}finished:timeout", "1", "f"], ["HDEL", "{}attempts:holder", "r"],
        ["HSET", "{}attempts:holder", "r", "2:1"], ["HSET", "{}attempts:holder", "ghost", "1:0"],
        ["HSET", "{}attempts:nobody", "r", "1:0"], ["HSET", "{}attempts:holder", "r", "1:1 +cpu=4"],
        ["XADD", "{}log:ghost", "*", "a", "b"],
        // The tombstone of a purged task.
        ["PERSIST", "{}task:z"], ["HSET", "{}task:z", "tag", "1"], ["ZADD", "{}finished", "1", "z"],
        ["XADD", "{}log:z", "*", "a", "b"],
    ]

    static let lanes: [[String]] = [
        ["ZADD", "{}lanes", far, "gpu"], ["ZREM", "{}lanes", "gpu"], ["ZADD", "{}lanes", "1", "none"],
        ["ZREM", "{}pending:gpu", "l"], ["ZREM", "{}lane_names", "gpu"], ["ZADD", "{}lane_names", "0", "none"],
        ["ZADD", "{}lane_names", "1", "gpu"], ["ZREM", "{}closed", "@k=1"], ["ZADD", "{}closed", "5", "@k=1"],
        ["ZADD", "{}closed", "0", "~api=0.1/1"], ["ZADD", "{}lanes", "1", "@k=1"], ["SREM", "{}waiters:k", "@k=1"],
        ["SADD", "{}waiters:k", "gpu"], ["SADD", "{}running:k", "p"], ["SREM", "{}running:k", "k1"],
        ["HINCRBY", "{}stats", "in_lanes_normal", "1"], ["HINCRBY", "{}stats", "blocked", "1"],
        ["ZREM", "{}work:gpu", "gpu"], ["ZADD", "{}work:gpu", far, "gpu"], ["ZADD", "{}work:gpu", "1", "gpu,+cpu=2"],
        ["ZREM", "{}work:gpu,+cpu=2", "gpu,+cpu=2"], ["ZREM", "{}work", "gpu"], ["ZADD", "{}work", far, "gpu"],
        ["ZADD", "{}work:", "1", "@k=1"], ["ZADD", "{}work:none", "1", "none"], ["ZREM", "{}unserved", "windows"],
        ["ZADD", "{}unserved", "0", "gpu"], ["ZADD", "{}unserved", "0", "none"],
    ]

    static let workers: [[String]] = [
        ["HINCRBY", "{}stats", "slots", "1"], ["ZADD", "{}idle", "1", "nobody"], ["RPUSH", "{}wake:nobody", "1"],
        ["RPUSH", "{}wake:holder", "1", "1"], ["ZREM", "{}workers", "holder"], ["HSET", "{}class", "nobody", "gpu"],
        ["HINCRBY", "{}classes", "gpu,+cpu=4", "1"], ["ZADD", "{}idle", "1", "m"],
        ["ZREM", "{}idle_pools", "mac,+cpu=2"], ["ZADD", "{}idle_pools", "1", "mac,+cpu=2"],
        ["ZADD", "{}idle_pools", "1", "none"], ["ZREM", "{}idle:mac,+cpu=2", "m"],
        ["ZADD", "{}idle:gpu,+cpu=4", "1", "g"], ["RPUSH", "{}wake:m", "1"], ["HSET", "{}attempts:m", "@state", "x"],
        ["HSET", "{}attempts:m", "@state", "slots=1 draining=0 unstarted=0 asleep=0 class=mac,+cpu=2"],
        ["HSET", "{}attempts:m", "@state", "slots=1 draining=1 unstarted=0 asleep=1 class=mac,+cpu=2"],
        ["HSET", "{}attempts:m", "@state", "slots=1 draining=0 unstarted=0 asleep=1 room=+cpu=1 class=mac,+cpu=2"],
        ["HSET", "{}attempts:m", "@state", "slots=1 draining=0 unstarted=0 asleep=1 class=mac"],
        ["HSET", "{}reserved", "gpu,+cpu=2", "nobody 1"], ["HSET", "{}reserved", "gpu,+cpu=2", "g"],
        ["HSET", "{}reserved", "gpu,+cpu=9", "g 1"], ["HSET", "{}reserved", "gpu,+cpu=2", "m 1"],
        ["HSET", "{}reserved", "gpu", "g 1"], ["HSET", "{}stuck", "gpu,+cpu=9", "x 1"],
        ["HSET", "{}stuck", "gpu,+cpu=2", "x"],
    ]

    static let others: [[String]] = [
        ["HINCRBY", "{}stats", "completed", "1"], ["HINCRBY", "{}stats", "assigned", "1"],
        ["HINCRBY", "{}batch:b", "total", "1"], ["HINCRBY", "{}batch:b", "pending", "1"], ["SET", "{}new", "1"],
        ["ZADD", "{}finished:completed", "1", "c"], ["HDEL", "{}config", "instance"],
        ["HDEL", "{}config", "has_lanes"],
        ["HSET", "{}config", "effective", "instance=1"], ["HDEL", "{}virtual_time", "normal"],
        ["HSET", "{}virtual_time", "x", "1"], ["SET", "{}unique:u", "ghost"], ["DEL", "{}unique:u"],
        ["ZADD", "{}dependents:p", "1", "d"], ["DEL", "{}dependents:p"], ["HSET", "{}task:d", "deps_left", "2"],
        ["ZADD", "{}dependents:c", "0", "d"], ["ZADD", "{}dependents:ghost", "0", "d"],
        ["RPUSH", "{}batch_work", "open nothing"], ["RPUSH", "{}batch_work", "cancel nothing"],
        ["RPUSH", "{}batch_work", "open b"], ["LPOP", "{}batch_work"],
        ["DEL", "{}members:b"], ["SET", "{}affinity:x", "w"], ["HINCRBY", "{}stats", "opening", "1"],
        ["HINCRBY", "{}batch:O", "done", "1"], ["HDEL", "{}claims", "s1"], ["HDEL", "{}claims", "unique us"],
        ["HSET", "{}claims", "ghost", "S"], ["HSET", "{}claims", "unique x", "S s1"], ["HDEL", "{}claims", "o3"],
        ["DEL", "{}stage_task:S/s1"], ["HSET", "{}stage_task:S/s3", "task", "s3"], ["ZREM", "{}stages", "S"],
        ["ZADD", "{}stages", "1", "none"], ["HINCRBY", "{}stage:S", "total", "1"], ["LPOP", "{}stage_members:S"],
        ["DEL", "{}stage:S"],
    ]

    @Test(arguments: tasks + lanes + workers + others)
    func seesEveryKindOfDamage(command: [String]) async throws {
        let queue = try await TestQueue()
        try await fill(queue)
        let before = try await queue.snapshot()
        try await queue.raw(command[0], Array(command.dropFirst()))
        let after = try await Snapshot(reading: queue.keys, client: queue.redis.client)
        #expect(!after.violations.isEmpty)
        #expect(!after.changes(since: before).isEmpty || command[0].hasPrefix("PE"))
    }

    /// Fills the queue with something of every kind.
    private func fill(_ queue: TestQueue) async throws {
        for (id, situation) in [("h", Situation.heldByRetry), ("r", .running), ("c", .completed), ("f", .failed)] {
            try await queue.put(id, in: situation)
        }
        try await queue.put("z", in: .completed)
        try await queue.call("purge", "task", "z")
        let key = ["concurrency_key": "k"]
        let rate = ["rate_key": "api", "rate_per_second": "0.1"]
        try await queue.submit([("k1", key), ("k2", key), ("r1", rate), ("r2", rate)])
        #expect(try await queue.take(TestQueue.holder, max: 4) == ["k1", "r1"])
        // These workers keep sleeping while the queue is paused.
        try await queue.register("m", ["labels": "mac", "cpu": "2"])
        try await queue.register("o")
        for worker in ["m", "o"] { try await queue.take(worker) }
        try await queue.register("g", ["labels": "gpu", "cpu": "4"])
        try await queue.call("configure", "paused", "1")
        try await queue.call("submit", "batch", "b", "task", "p")
        try await queue.submit([
            ("l", ["requires": "gpu"]), ("m", ["requires": "gpu", "cpu": "2"]), ("x", ["requires": "windows"]),
            ("n", ["requires": "color!=red"]), ("d", ["depends_on": "p"]), ("u", ["unique_key": "u"]),
        ])
        try await queue.submit([("s1", ["unique_key": "us"]), ("s2", [:])], call: ["batch": "S", "stage": "1"])
        try await queue.submit((1...3).map { ("o\($0)", [:]) }, call: ["batch": "O", "stage": "1"])
        #expect(try await queue.call("open_batch", "batch", "O", "limit", "1").int == 2)
        try await queue.submit("t", ["fairness_key": "tenant"])
    }
}
