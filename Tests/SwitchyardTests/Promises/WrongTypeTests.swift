import RedisClient
import SwitchyardTesting
import Testing

@Suite("Keys of a wrong type")
struct WrongTypeTests {
    /// Each function, in each scene, with each key of the queue in turn replaced by one of another type, those included
    /// that the function would create: when it fails for that, it has written nothing.
    @Test(arguments: WrongTypeScene.allCases)
    func failACallBeforeItsFirstWrite(scene: WrongTypeScene) async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            let calls = try await scene.prepare(queue)
            let damage = Damage(queue: queue)
            try await damage.save()
            var found: [String] = []
            for call in calls { found += try await damage.halfTransitions(of: call) }
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
            // Somebody finds the key, and deletes it. The worker goes on, and asks again for what it may have missed.
            try await queue.raw("DEL", "{}" + key)
            try await queue.register("w", slots: 20, offers)
            for id in try await queue.pull("w", max: 20, start: true, holding: 0).map(\.id) { try await queue.end(id) }
            let states = try await queue.states(of: acknowledged)
            #expect(states == acknowledged.map { _ in "completed" })
            try await queue.reconcileAll()
        }
    }
}

/// A call of a function.
struct WrongTypeCall: Sendable {
    var function: String
    var arguments: [RedisArgument]

    init(_ function: String, _ arguments: RedisArgument...) {
        self.function = function
        self.arguments = arguments
    }

    var text: String {
        let words = arguments.map { argument in
            switch argument {
            case .string(let text): text
            case .integer(let number): "\(number)"
            case .buffer: "…"
            }
        }
        return function + " " + words.prefix(14).joined(separator: " ")
    }
}

/// Replaces keys of a queue on a server of its own, and looks at what a call then did.
private struct Damage {
    var queue: TestQueue

    /// ARGV: the prefix; "save", "restore" (then perhaps a key to damage and the type that it gets), "look" or "list".
    /// Returns a digest of all keys; for "list", of each key its name, its type and a digest of its content.
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

    /// What `call` changed although it failed inside; a line for each damaged key.
    func halfTransitions(of call: WrongTypeCall) async throws -> [String] {
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
        let names = types.keys.sorted()
        func damage(_ name: String) -> RedisCommand {
            command("restore", name, types[name] == "string" ? "hash" : "string")
        }
        let replies = try await client.pipeline(names.flatMap { [damage($0), command(call), command("look")] })
        var found: [String] = []
        for (index, name) in names.enumerated() {
            guard let error = internalError(in: replies[index * 3 + 1]) else { continue }
            if let error = replies[index * 3].error ?? replies[index * 3 + 2].error { throw error }
            guard replies[index * 3] != replies[index * 3 + 2] else { continue }
            // Once more, to say which keys.
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

    /// Codes with which a function refuses a call, or a part of it.
    private static let refusals: Set = [
        "BADREQUEST", "TASKNOTFOUND", "TASKEXISTS", "INVALIDSTATE", "LEASELOST", "WORKERNOTFOUND", "QUEUEFULL",
        "NOWORKERS", "TRYAGAIN",
    ]

    private func internalError(in reply: RESPValue) -> RedisError? {
        if let error = reply.error { return Self.refusals.contains(error.code) ? nil : error }
        return reply.array?.lazy.compactMap { internalError(in: $0) }.first
    }
}

/// A queue in one of the moments of its life, with the calls that are made then.
enum WrongTypeScene: String, CaseIterable, CustomTestStringConvertible {
    case empty, idle, ready, working, expired, ended, underWay

    var testDescription: String { rawValue }

    /// Tasks of every kind.
    private static let kinds: [(id: String, options: [String: String])] = [
        ("plain", [:]), ("label", ["requires": "gpu"]), ("core", ["cpu": "1"]), ("big", ["cpu": "8"]),
        ("limited1", ["concurrency_key": "k"]), ("limited2", ["concurrency_key": "k"]),
        ("rated1", ["rate_key": "r", "rate_per_second": "0.001"]),
        ("rated2", ["rate_key": "r", "rate_per_second": "0.001", "requires": "gpu"]),
        ("unique", ["unique_key": "u", "unique_for_ms": "600000"]), ("tenant", ["fairness_key": "f"]),
        ("warm", ["affinity_key": "a"]), ("group", ["group_key": "g"]), ("late", ["delay_ms": "600000"]),
        ("root", [:]), ("waits", ["depends_on": "root,plain"]), ("any", ["depends_on": "root", "run_anyway": "1"]),
        ("once", ["max_retries": "0", "concurrency_key": "k2", "unique_key": "u2"]),
        ("after", ["depends_on": "once,unique"]), ("long", ["payload": String(repeating: "x", count: 300)]),
    ]

    private static let followUp = #"["task","follow-up","requires","gpu"]"#

    private func submission(
        _ tasks: [(id: String, options: [String: String])], _ call: [String: String] = [:]
    ) -> WrongTypeCall {
        var submission = WrongTypeCall("submit")
        for (name, value) in call { submission.arguments += [.string(name), .string(value)] }
        for (id, options) in tasks {
            submission.arguments += ["task", .string(id)]
            for (name, value) in options { submission.arguments += [.string(name), .string(value)] }
        }
        return submission
    }

    private func make(_ call: WrongTypeCall, _ queue: TestQueue) async throws {
        try await queue.call(call.function, call.arguments)
    }

    private func workers(_ queue: TestQueue) async throws {
        for nonce in ["n1"] {
            try await queue.register("w", slots: 20, ["labels": "gpu", "cpu": "8", "nonce": nonce])
            try await queue.register("p", slots: 3, ["nonce": nonce])
            try await queue.register("q")
        }
    }

    /// Tasks of every kind in line, a batch, a batch that is staged, and a schedule that is due.
    private func fill(_ queue: TestQueue) async throws {
        try await make(submission(Self.kinds), queue)
        let members = ["b1", "b2"].map { ($0, [String: String]()) }
        try await make(submission(members, ["batch": "B", "on_complete": Self.followUp]), queue)
        let staged = [("s1", ["unique_key": "us"]), ("s2", ["depends_on": "s1,plain", "requires": "gpu"])]
        try await make(submission(staged, ["batch": "S", "stage": "1", "on_complete": Self.followUp]), queue)
        try await make(Self.schedule, queue)
    }

    private static let schedule = WrongTypeCall(
        "schedule", "schedule", "nightly", "cron", "0 3 * * *", "template",
        #"["task","x","requires","gpu","unique_key","night","concurrency_key","k3"]"#, "next", "1700000000000")

    private static let looks: [WrongTypeCall] = [
        WrongTypeCall("stats"), WrongTypeCall("demand"), WrongTypeCall("workers"), WrongTypeCall("schedules"),
        WrongTypeCall("list"), WrongTypeCall("list", "state", "failed"), WrongTypeCall("list", "batch", "B"),
        WrongTypeCall("list", "state", "pending", "limit", "3"), WrongTypeCall("batch", "batch", "B"),
        WrongTypeCall("get", "task", "plain", "task", "big", "task", "limited2"),
        WrongTypeCall("explain", "task", "big"), WrongTypeCall("explain", "task", "limited2"),
    ]

    private static let upkeep: [WrongTypeCall] = [
        WrongTypeCall("tick"), WrongTypeCall("tick", "limit", "100", "cleanup", "1"),
        WrongTypeCall("tick", "limit", "2"),
        WrongTypeCall("reconcile"), WrongTypeCall("reconcile", "index", "pending"),
        WrongTypeCall("reconcile", "index", "leases"), WrongTypeCall("configure", "paused", "1"),
        WrongTypeCall("configure", "paused", "0", "max_queue_length", "1000"),
        WrongTypeCall("register", "worker", "new", "slots", "2"),
        WrongTypeCall("register", "worker", "new", "slots", "2", "labels", "gpu,os=linux", "cpu", "4"),
        schedule,
    ]

    private static let departures: [WrongTypeCall] = [
        WrongTypeCall("register", "worker", "w", "slots", "20", "labels", "gpu", "cpu", "8", "nonce", "n1"),
        WrongTypeCall("register", "worker", "w", "slots", "20", "labels", "gpu", "cpu", "8", "nonce", "n2"),
        WrongTypeCall("register", "worker", "p", "slots", "1", "labels", "os=mac", "nonce", "n2"),
        WrongTypeCall("heartbeat", "worker", "w"), WrongTypeCall("drain", "worker", "w"),
        WrongTypeCall("drain", "worker", "p"), WrongTypeCall("deregister", "worker", "w"),
        WrongTypeCall("deregister", "worker", "p"),
    ]

    private static let pulls: [WrongTypeCall] = [
        WrongTypeCall("pull", "worker", "w", "max", "20", "start", "1"),
        WrongTypeCall("pull", "worker", "w", "max", "20"),
        WrongTypeCall("pull", "worker", "w", "max", "1", "start", "1"),
        WrongTypeCall("pull", "worker", "p", "max", "3"),
        WrongTypeCall("pull", "worker", "w", "max", "8", "start", "1", "together", "1"),
        WrongTypeCall("pull", "worker", "p", "max", "0"),
        WrongTypeCall("pull", "worker", "w", "max", "5", "holding", "0"),
        WrongTypeCall("pull", "worker", "q"),
    ]

    /// Each kind submitted by itself, all together, and as batches.
    private var submissions: [WrongTypeCall] {
        let free = Self.kinds.filter { $0.options["depends_on"] == nil }
        let parts = [("x1", ["requires": "gpu"]), ("x2", ["depends_on": "x1", "unique_key": "ux"])]
        return free.map { submission([("new-" + $0.id, $0.options)]) } + [
            submission(Self.kinds),
            submission(parts, ["batch": "N", "on_complete": Self.followUp]),
            submission(parts, ["batch": "N", "stage": "1"]),
            submission([("c1", [:]), ("c2", [:])], ["batch": "N", "position": "1"]),
        ]
    }

    private func perTask(_ function: String, _ ids: [String], _ head: RedisArgument...) -> [WrongTypeCall] {
        (ids.map { [$0] } + [ids]).map { ids in
            var call = WrongTypeCall(function)
            call.arguments = head + ids.flatMap { ["task", .string($0)] as [RedisArgument] }
            return call
        }
    }

    /// Brings `queue` into the scene; the calls to try there.
    func prepare(_ queue: TestQueue) async throws -> [WrongTypeCall] {
        let settings: [RedisArgument] = [
            "lease_ms", "3600000", "reserve_after_ms", "0", "retry_delay_ms", "1000", "retention_ms", "3600000",
        ]
        if self != .empty { try await queue.call("configure", settings) }
        let ids = Self.kinds.map(\.id)
        switch self {
        case .empty:
            return submissions + Self.upkeep + Self.looks
        case .idle:
            try await workers(queue)
            for worker in ["w", "p", "q"] { try await queue.take(worker) }
            return submissions + Self.upkeep + Self.departures + Self.pulls + Self.looks
        case .ready:
            try await workers(queue)
            try await fill(queue)
            return Self.pulls + submissions + Self.upkeep + Self.departures + Self.looks
                + perTask("cancel", ids + ["b1"]) + perTask("prioritize", ids, "priority", "high")
                + perTask("explain", ids).dropLast() + perTask("get", ids) + [
                    WrongTypeCall("cancel_batch", "batch", "B"), WrongTypeCall("open_batch", "batch", "S"),
                    WrongTypeCall("abandon_batch", "batch", "S"), WrongTypeCall("cancel_batch", "batch", "S"),
                    WrongTypeCall("purge_queue", "confirm", .string(queue.name), "limit", "100"),
                    WrongTypeCall("unschedule", "schedule", "nightly"),
                    WrongTypeCall("fire", "schedule", "nightly", "due", "1700000000000", "next", "1800000000000"),
                    WrongTypeCall(
                        "fire", "schedule", "nightly", "due", "1700000000000", "next", "1800000000000", "skip", "1"),
                ]
        case .working, .expired:
            return try await holding(queue)
        case .ended:
            try await workers(queue)
            try await fill(queue)
            for _ in 0..<3 {
                for id in try await queue.take("w", max: 20) {
                    try await queue.end(id, id == "plain" ? "failed" : "completed", ["retryable": "0", "result": "r"])
                }
            }
            let ended = ids.filter { $0 != "late" && $0 != "rated2" }
            let later = ["late", "rated2"]
            try await queue.call("cancel", later.flatMap { ["task", .string($0)] as [RedisArgument] })
            try await queue.age(by: .seconds(3601))
            for worker in ["w", "p", "q"] { try await queue.call("heartbeat", "worker", .string(worker)) }
            return perTask("retry", ids) + perTask("purge", ended + later) + Self.upkeep + Self.looks + Self.pulls + [
                submission([("again", ["unique_key": "u"])]), submission([("again", ["depends_on": "plain,root"])]),
                WrongTypeCall("purge_queue", "confirm", .string(queue.name), "limit", "100"),
                WrongTypeCall("cancel_batch", "batch", "B"),
            ]
        case .underWay:
            // Steps that go on by ticks: a cascade, a cancelled batch, an opened one.
            try await workers(queue)
            try await queue.submit(
                [("root", ["max_retries": "0"])]
                    + (0..<60).map { ("d\($0)", ["depends_on": "root", "requires": "gpu"]) })
            try await queue.submit((0..<60).map { ("c\($0)", ["concurrency_key": "k"]) }, call: ["batch": "C"])
            try await queue.submit(
                (0..<120).map { ("o\($0)", ["requires": "gpu"]) }, call: ["batch": "O", "stage": "1"])
            #expect(try await queue.take("w") == ["root"])
            try await queue.end("root", "failed")
            try await queue.call("cancel_batch", "batch", "C")
            try await queue.call("open_batch", "batch", "O", "limit", "30")
            return Self.upkeep + Self.pulls + Self.departures + Self.looks + [
                WrongTypeCall("open_batch", "batch", "O"), WrongTypeCall("cancel_batch", "batch", "O"),
                WrongTypeCall("cancel_batch", "batch", "C"), WrongTypeCall("retry", "task", "root"),
                WrongTypeCall("purge", "task", "root"),
            ]
        }
    }

    /// Workers that hold tasks of every kind, started and not; in the scene `expired` nobody has heard of them for long.
    private func holding(_ queue: TestQueue) async throws -> [WrongTypeCall] {
        try await workers(queue)
        try await fill(queue)
        let waiting = try await queue.pull("p", max: 2)
        let running = try await queue.pull("w", max: 20, start: true)
        #expect(waiting.count == 2 && running.count > 5)
        func attempts(_ list: [(id: String, attempt: Int)]) -> [RedisArgument] {
            list.flatMap { ["task", .string($0.id), "attempt", .integer(Int64($0.attempt))] as [RedisArgument] }
        }
        func call(_ function: String, _ arguments: [RedisArgument]) -> WrongTypeCall {
            var call = WrongTypeCall(function)
            call.arguments = arguments
            return call
        }
        if self == .expired {
            try await queue.age(by: .seconds(8000))
            return Self.upkeep + [WrongTypeCall("tick", "limit", "1")] + Self.looks
        }
        var calls = Self.departures + Self.upkeep + Self.looks + Self.pulls
        for held in running {
            let one = attempts([held])
            for report in [
                ["completed", "result", "r"], ["failed", "error_message", "m"], ["timeout", "retryable", "0"],
            ] {
                let outcome: [RedisArgument] = ["outcome"] + report.map { .string($0) }
                for pull: [RedisArgument] in [[], ["pull", "1", "start", "1"]] {
                    calls.append(call("finish", ["worker", "w"] + pull + one + outcome))
                }
            }
            calls.append(call("cancel", ["task", .string(held.id)]))
            calls.append(call("log", ["worker", "w"] + one + ["stdout", "text"]))
        }
        let all: [RedisArgument] = running.flatMap { attempts([$0]) + ["outcome", "completed"] }
        let beats: [RedisArgument] = running.flatMap { attempts([$0]) + ["progress", "half"] }
        calls.append(call("finish", ["worker", "w", "pull", "5", "start", "1"] + all))
        calls.append(call("heartbeat", ["worker", "w"] + beats))
        calls.append(call("start", ["worker", "p"] + attempts(waiting)))
        calls.append(call("release", ["worker", "p"] + attempts(waiting)))
        calls.append(call("release", ["worker", "p"] + attempts([waiting[0]])))
        calls.append(WrongTypeCall("purge_queue", "confirm", .string(queue.name), "limit", "100"))
        return calls
    }
}
