import RedisClient
import SwitchyardTesting
import Testing

@Suite("Keys of a wrong type")
struct WrongTypeTests {
    /// Calls each function, in each scene, once for each key of the queue, including those that the function would
    /// create, while that key has another type. If the call fails because of the type, it must have written nothing.
    /// Unless the tests are long, each call meets every third key, another third than the call before it.
    @Test(arguments: WrongTypeScene.allCases)
    func failACallBeforeItsFirstWrite(scene: WrongTypeScene) async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            let calls = try await scene.prepare(queue)
            let damage = Damage(queue: queue)
            try await damage.save()
            var found: [String] = []
            for (index, call) in calls.enumerated() {
                found += try await damage.halfTransitions(of: call, at: TestLength.of(index, long: nil))
            }
            let shown = found.prefix(30).joined(separator: "\n")
            #expect(found.isEmpty, "\(found.count) half transitions in \(calls.count) calls:\n\(shown)")
        }
    }

    @Test(arguments: ["leases", "stats", "finished", "held", "idle", "workers"], GhostTests.Line.allCases)
    func loseNoAcknowledgedTask(key: String, line: GhostTests.Line) async throws {
        try await TestQueue.run { queue in
            let offers = ["labels": "gpu", "cpu": "20"]
            try await queue.register("w", slots: 20, offers)
            try await queue.submit([("before", line.options)])
            try await queue.raw("DEL", "{}" + key)
            try await queue.raw("SET", "{}" + key, "x")
            var acknowledged = ["before"]
            if try await refusal({ try await queue.submit([("t", line.options)]) }) == nil { acknowledged.append("t") }
            var got: [String] = []
            for _ in 0..<2 { _ = try await refusal { got += try await queue.take("w", max: 20) } }
            _ = try await refusal { for id in got { try await queue.end(id) } }
            // A person deletes the key. The worker goes on, and pulls again what it may have missed.
            try await queue.raw("DEL", "{}" + key)
            try await queue.register("w", slots: 20, offers)
            for id in try await queue.pull("w", max: 20, start: true, holding: 0).map(\.id) { try await queue.end(id) }
            let states = try await queue.states(of: acknowledged)
            #expect(states == acknowledged.map { _ in "completed" })
            try await queue.reconcileAll()
        }
    }
}

/// Replaces keys of a queue on its own server, and compares the keys before and after a call.
private struct Damage {
    var queue: TestQueue

    /// ARGV: the prefix; "save", "restore" (optionally with a key to damage and its new type), "look" or "list".
    /// Returns a digest of all keys; for "list", the name and the type of each key and a digest of its value.
    private static let script = """
        local prefix, what, damaged, kind = unpack(ARGV)
        local function keys_of(start) return redis.call('KEYS', start .. '*') end
        if what == 'save' then
            for _, key in ipairs(keys_of(prefix)) do redis.call('COPY', key, 'saved:' .. key, 'REPLACE') end
        elseif what == 'restore' then
            for _, key in ipairs(keys_of(prefix)) do redis.call('DEL', key) end
            for _, key in ipairs(keys_of('saved:' .. prefix)) do
                redis.call('COPY', key, string.sub(key, 7), 'REPLACE')
            end
            if kind then redis.call('DEL', damaged) end
            if kind == 'string' then redis.call('SET', damaged, 'x') end
            if kind == 'hash' then redis.call('HSET', damaged, 'x', 'y') end
        end
        local reply, digests, keys = {}, {}, keys_of(prefix)
        table.sort(keys)
        for i, key in ipairs(keys) do
            digests[i] = key .. redis.sha1hex(redis.call('DUMP', key))
            if what == 'list' then
                reply[#reply + 1] = key
                reply[#reply + 1] = redis.call('TYPE', key).ok
                reply[#reply + 1] = digests[i]
            end
        end
        if what ~= 'list' then return redis.sha1hex(table.concat(digests, ' ')) end
        return reply
        """

    private func command(_ what: String, _ more: String...) -> RedisCommand {
        RedisCommand(
            "EVAL", [.string(Self.script), 0, .string(queue.keys.prefix), .string(what)], more.map { .string($0) })
    }

    private func command(_ call: WrongTypeCall) -> RedisCommand {
        RedisCommand(
            "FCALL", [.string("switchyard_" + call.function), 1, .string(queue.keys.prefix)], call.arguments)
    }

    private struct Content: Equatable {
        var types: [String: String] = [:]
        var digests: [String: String] = [:]

        init(_ reply: RESPValue) throws {
            if let error = reply.error { throw error }
            let values = (reply.array ?? []).map { $0.string ?? "" }
            for index in stride(from: 0, to: values.count - 2, by: 3) {
                types[values[index]] = values[index + 1]
                digests[values[index]] = values[index + 2]
            }
        }
    }

    func save() async throws {
        if let error = try await queue.redis.client.send(command("save")).error { throw error }
    }

    /// Returns a line for each damaged key for which `call` failed after it had written something.
    /// - Parameter place: selects a third of the keys; nil: all keys.
    func halfTransitions(of call: WrongTypeCall, at place: Int?) async throws -> [String] {
        let client = queue.redis.client
        let clean = try await client.pipeline([
            command("restore"), command("list"), command(call), command("list"),
        ])
        let before = try Content(clean[1])
        let after = try Content(clean[3])
        if let error = internalError(in: clean[2]) {
            return ["\(call.text): fails without damage: \(error.code) \(error.message)"]
        }
        let types = before.types.merging(after.types) { before, _ in before }
        let names = types.keys.sorted().enumerated().filter { entry in
            place.map { ($0 + entry.offset) % 3 == 0 } ?? true
        }.map(\.element)
        func damage(_ name: String) -> RedisCommand {
            command("restore", name, types[name] == "string" ? "hash" : "string")
        }
        let replies = try await client.pipeline(names.flatMap { [damage($0), command(call), command("look")] })
        var found: [String] = []
        for (index, name) in names.enumerated() {
            guard let error = internalError(in: replies[index * 3 + 1]) else { continue }
            if let error = replies[index * 3].error ?? replies[index * 3 + 2].error { throw error }
            guard replies[index * 3] != replies[index * 3 + 2] else { continue }
            // Repeats the call, to name the changed keys.
            let again = try await client.pipeline([damage(name), command("list"), command(call), command("list")])
            let before = try Content(again[1]).digests
            let after = try Content(again[3]).digests
            let changed = Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }.sorted()
            func short(_ key: String) -> String { String(key.dropFirst(queue.keys.prefix.count)) }
            let list = changed.map(short).joined(separator: ", ")
            found.append("\(call.text): \(error.code) for \(short(name)), after it has written \(list)")
        }
        return found
    }

    /// Codes with which a function refuses a call or a part of it: these are no failures.
    private static let refusals: Set = [
        "BADREQUEST", "TASKNOTFOUND", "TASKEXISTS", "INVALIDSTATE", "LEASELOST", "WORKERNOTFOUND", "QUEUEFULL",
        "NOWORKERS", "TRYAGAIN",
    ]

    private func internalError(in reply: RESPValue) -> RedisError? {
        if let error = reply.error { return Self.refusals.contains(error.code) ? nil : error }
        return reply.array?.lazy.compactMap { internalError(in: $0) }.first
    }
}
