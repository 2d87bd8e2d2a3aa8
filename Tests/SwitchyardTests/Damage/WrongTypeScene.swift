import RedisClient
import SwitchyardTesting
import Testing

/// A call of a function, without the keys.
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

/// A state of a queue, with the calls that ``WrongTypeTests`` tries in it.
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

    /// Adds tasks of every kind, a batch, a staged batch, and a schedule that is due.
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

    /// Submissions of each kind of task alone, of all kinds together, and of batches.
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

    /// Brings `queue` into the scene. Returns the calls to try in it.
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
            // Work that ticks continue: the end of a dependency, a cancelled batch, an opened batch.
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

    /// Workers with leases of every kind of task, started or not. In the scene `expired` their heartbeats are overdue.
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
