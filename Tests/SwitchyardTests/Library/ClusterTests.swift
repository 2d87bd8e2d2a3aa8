import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Redis Cluster")
struct ClusterTests {
    /// Calls a function with the keys that a client declares: the prefix, and the configuration.
    private func call(
        _ queue: TestQueue, _ function: String, keys: [String]? = nil, _ arguments: [RedisArgument] = []
    ) async throws -> RESPValue {
        try await queue.redis.client.send(command(queue, function, keys: keys, arguments))
    }

    private func command(
        _ queue: TestQueue, _ function: String, keys: [String]? = nil, _ arguments: [RedisArgument] = []
    ) -> RedisCommand {
        let keys = keys ?? [queue.keys.prefix, queue.keys.config]
        return RedisCommand(
            "FCALL", [.string("switchyard_" + function), .integer(Int64(keys.count))], keys.map { .string($0) },
            arguments)
    }

    /// Returns the message of the error that a call throws; nil if the call succeeds.
    private func failure(_ body: () async throws -> RESPValue) async throws -> String? {
        do {
            _ = try await body()
            return nil
        } catch let error as RedisError {
            return error.message
        }
    }

    private func functions(_ redis: TestRedis) async throws -> [String] {
        let reply = try await redis.client.send(RedisCommand("FUNCTION", "LIST", "LIBRARYNAME", "switchyard"))
        return (reply[0]?.pairs["functions"]?.array ?? []).compactMap { function in
            function.pairs["name"]?.string.map { String($0.dropFirst("switchyard_".count)) }
        }.sorted()
    }

    @Test func everyFunctionTakesTheConfigurationAsItsSecondKey() async throws {
        try await TestQueue.run { queue in
            let names = try await functions(queue.redis)
            #expect(names.count >= 33)
            for name in names where name != "version" {
                let one = try await failure { try await call(queue, name, keys: [queue.keys.prefix]) }
                let two = try await failure { try await call(queue, name) }
                #expect(two == one, "\(name)")
                for wrong in [queue.keys.pending, Keys(queue: "other").config, queue.keys.prefix] {
                    let refused = try await failure { try await call(queue, name, keys: [queue.keys.prefix, wrong]) }
                    #expect(refused?.contains("BADREQUEST key") == true, "\(name): \(wrong)")
                }
                let more = [queue.keys.prefix, queue.keys.config, queue.keys.pending]
                let refused = try await failure { try await call(queue, name, keys: more) }
                #expect(refused != nil, "\(name)")
            }
        }
    }

    @Test func aTaskLivesWithCallsOfOneKeyAndOfTwo() async throws {
        try await TestQueue.run { queue in
            for n in 0..<4 {
                // Each kind of call meets what the other kind has written.
                let keys = [[queue.keys.prefix], [queue.keys.prefix, queue.keys.config]]
                func kind(_ step: Int) -> [String] { keys[(n >> (step % 2)) % 2] }
                let id = RedisArgument.string("t\(n)")
                _ = try await call(queue, "register", keys: kind(0), ["worker", "w"])
                let added = try await call(queue, "submit", keys: kind(1), ["task", id, "cpu", "0"])
                #expect(added[0]?[4]?.string == "new")
                let pulled = try await call(queue, "pull", keys: kind(2), ["worker", "w", "start", "1"])
                #expect(pulled.assignments.map(\.id) == ["t\(n)"])
                _ = try await call(queue, "heartbeat", keys: kind(3), ["worker", "w", "task", id, "attempt", "1"])
                let done = try await call(
                    queue, "finish", keys: kind(1), ["worker", "w", "task", id, "attempt", "1", "outcome", "completed"])
                #expect(done[0]?[0]?.string == "completed")
                let found = try await call(queue, "get", keys: kind(0), ["task", id])
                #expect(found[0]?.pairs["state"]?.string == "completed")
            }
            #expect(try await call(queue, "stats").pairs["completed"]?.int == 4)
        }
    }

    /// No key of the database has the prefix as its name. If a function declared that key alone, the node to which a
    /// slot moves would run every call on an empty queue.
    @Test func aQueueWhoseSlotMovesIsNeverTwo() async throws {
        try await TwoNodes.run { nodes in
            let queue = try await TestQueue(on: nodes.source)
            let there = nodes.target.client
            for n in 0..<3 { _ = try await call(queue, "submit", ["task", .string("t\(n)"), "cpu", "1"]) }
            _ = try await call(queue, "register", ["worker", "w", "slots", "2", "cpu", "4"])
            let before = try await call(queue, "stats").pairs["instance"]?.string

            let slot = try await nodes.begin(queue.keys.prefix)
            for moved in 0..<2 {
                // At first no key has moved; then some have.
                for arguments: [RedisArgument] in [["task", "x"], ["task", "y", "cpu", "1"]] {
                    let here = command(queue, "submit", arguments)
                    // Once the configuration has moved, the source node knows neither key, and redirects the client.
                    let refused = try await nodes.source.client.pipeline([here])[0].error?.code
                    #expect(refused == "TRYAGAIN" || (moved == 1 && refused == "ASK"))
                    for (function, more) in [("submit", arguments), ("tick", []), ("register", ["worker", "v"])] {
                        let asked = command(queue, function, more)
                        let replies = try await there.pipeline([RedisCommand("ASKING"), asked])
                        #expect(replies[1].error?.code == "TRYAGAIN", "\(function), \(moved)")
                    }
                }
                try await nodes.move(slot, atMost: moved == 0 ? 2 : 100_000)
            }
            try await nodes.end(slot)

            let moved = command(queue, "stats")
            let stats = try await there.send(moved).pairs
            #expect(stats["instance"]?.string == before)
            #expect(stats["pending"]?.int == 3)
            #expect(stats["workers"]?.int == 1)
            let pulled = try await there.send(command(queue, "pull", ["worker", "w", "max", "2", "start", "1"]))
            #expect(pulled.assignments.map(\.id) == ["t0", "t1"])
            #expect(pulled.assignments.map(\.attempt) == [1, 1])
        }
    }
}
