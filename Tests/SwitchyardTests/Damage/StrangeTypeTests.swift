import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Keys of which a queue has several, by name: something else has written a value of a wrong type to one.
@Suite("A key of a strange type")
struct StrangeTypeTests {
    static let keys = [
        "batch:b", "members:b", "rate:api", "running:k", "waiters:k", "tenants:normal", "past_tenants:normal",
        "dependents:d", "pending:gpu", "work:gpu", "idle:gpu", "attempts:w", "worker:w", "wake:w", "unique:u",
        "affinity:a", "log:d", "finished:failed", "task:lost", "schedule:s", "stage:S", "stage_members:S",
        "stage_task:S/x",
    ]

    /// Each key with each type; unless the tests are long, with one of them.
    static let cases: [(key: String, type: String)] = keys.enumerated().flatMap { index, key in
        let types = ["string", "zset"]
        return TestLength.of([types[index % 2]], long: types).map { (key, $0) }
    }

    @Test(arguments: cases)
    func isRemovedByTheReconciler(key: String, type: String) async throws {
        let queue = try await TestQueue()
        try await queue.submit("d", ["requires": "gpu", "unique_key": "u"])
        try await queue.raw("DEL", "{}" + key)
        if type == "string" {
            try await queue.raw("SET", "{}" + key, "x")
        } else {
            try await queue.raw("ZADD", "{}" + key, "0", "x")
        }
        let zsets = ["tenants", "past_tenants", "dependents", "pending", "work", "idle", "finished"]
        let strings = ["rate", "unique", "affinity"]
        let family = String(key.prefix { $0 != ":" })
        let isRight = (type == "string" ? strings : zsets).contains(family)
        guard !isRight, family != "finished" else { return }
        _ = try await queue.reconcileAll(limit: 5)
        let found = try await queue.raw("TYPE", "{}" + key).string
        #expect(found != type)
        // Work continues.
        try await queue.register("w", ["labels": "gpu"])
        try await queue.submit("e", ["requires": "gpu", "depends_on": "d", "rate_key": "api"])
        #expect(try await queue.take("w") == ["d"])
        try await queue.call("finish", "worker", "w", "task", "d", "attempt", "1", "outcome", "completed")
        #expect(try await queue.take("w") == ["e"])
    }
}
