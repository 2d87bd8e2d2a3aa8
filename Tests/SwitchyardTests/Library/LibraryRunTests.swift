import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A loaded library caches data about queues. The cache is only valid as long as no other server has run functions on
/// the queue.
@Suite("A run of the library")
struct LibraryRunTests {
    /// As after a failover and back: the second server works on the queue, and then the first gets it back.
    @Test(arguments: [1, 3, 60], [true, false])
    func learnsOfTheGroupsThatAnotherHasAdded(groups: Int, otherPulls: Bool) async throws {
        try await TestRedis.run { first in
            try await TestRedis.run { second in
                let queue = try await TestQueue(on: first)
                let other = TestQueue(queue, on: second)
                try await queue.register("w", slots: 100, ["labels": "gpu,os=linux"])
                try await queue.submit("a", ["requires": "gpu"])
                #expect(try await queue.take("w") == ["a"])
                #expect(try await queue.take("w") == [])

                try await queue.move(to: other)
                try await other.submit((0..<groups).map { ("t\($0)", ["requires": "gpu,x!=\($0)"]) })
                if otherPulls {
                    #expect(try await other.take("w") == ["t0"])
                    try await other.submit("t0-again", ["requires": "gpu,x!=again"])
                }
                try await other.move(to: queue)
                let ids = otherPulls ? (1..<groups).map { "t\($0)" } + ["t0-again"] : (0..<groups).map { "t\($0)" }
                #expect(try await queue.take("w", max: 100) == ids)
                try await queue.submit("last", ["requires": "os=linux"])
                #expect(try await queue.take("w") == ["last"])
                try await queue.snapshot()
            }
        }
    }

    @Test func knowsTheQueueAgainAfterFunctionsWereFlushed() async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            try await queue.register("w", slots: 100, ["labels": "gpu,os=linux"])
            try await queue.submit("a", ["requires": "gpu"])
            try await queue.submit("b", ["requires": "os=linux"])
            for n in 0..<3 {
                _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
                try await redis.library.ensureLoaded()
                try await queue.submit("c\(n)", ["requires": "gpu,x!=\(n)"])
                if n == 1 { #expect(try await queue.take("w", max: 2) == ["a", "b"]) }
            }
            #expect(try await queue.take("w", max: 100) == ["c0", "c1", "c2"])
            try await queue.snapshot()
        }
    }
}

extension TestQueue {
    /// The same queue on another server.
    fileprivate init(_ queue: TestQueue, on redis: TestRedis) {
        self.init(queue.name, handle: queue.handle, on: redis)
    }

    /// Copies every key to the other server, and replaces the queue that it has.
    fileprivate func move(to other: TestQueue) async throws {
        for key in try await other.redis.client.send(RedisCommand("KEYS", "*")).array ?? [] {
            _ = try await other.redis.client.send(RedisCommand("DEL", .string(key.string ?? "")))
        }
        for key in try await redis.client.send(RedisCommand("KEYS", "*")).array ?? [] {
            guard let name = key.string else { continue }
            let dump = try await redis.client.send(RedisCommand("DUMP", .string(name)))
            guard case .bulkString(let value) = dump else { throw MissingKey(name: name) }
            _ = try await other.redis.client.send(RedisCommand("RESTORE", .string(name), "0", .buffer(value)))
        }
    }
}

private struct MissingKey: Error { let name: String }
