import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Thousands of random calls of every function by several workers. After every few calls, all invariants that the
/// snapshot checks must hold. `SWITCHYARD_TEST_SEED` repeats a run.
@Suite("Any order of calls")
struct RandomTests {
    static let expectedAnswers = [
        "submit ok", "submit TASKEXISTS", "submit QUEUEFULL", "pull ok", "pull WORKERNOTFOUND", "start ok",
        "start LEASELOST", "heartbeat ok", "heartbeat WORKERNOTFOUND", "finish ok", "finish LEASELOST",
        "finish INVALIDSTATE", "release ok", "release INVALIDSTATE", "cancel ok", "cancel INVALIDSTATE", "retry ok",
        "retry INVALIDSTATE", "purge ok", "purge INVALIDSTATE", "register ok", "deregister ok", "log ok",
        "log LEASELOST",
    ]

    @Test func keepsTheQueueConsistent() async throws {
        let given = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init)
        let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
        try await TestRedis.run { redis in
            let settings = [
                "retry_delay_ms": 2000, "max_deliveries": 3, "max_queue_length": 12, "retention_ms": 60_000,
            ]
            let queue = try await TestQueue(on: redis, settings: settings)
            var run = RandomRun(queue: queue, generator: SeededGenerator(seed: seed))
            do {
                for step in 1...2500 {
                    try await run.step()
                    if step % 5 == 0 { try await run.check() }
                }
            } catch {
                let shown = run.trace.suffix(12).joined(separator: "\n")
                Issue.record("SWITCHYARD_TEST_SEED=\(seed), last calls:\n\(shown)\n\(error)")
            }
            // The run must have met each of these codes.
            for answer in Self.expectedAnswers {
                #expect(run.codeCounts[answer] != nil, "seed \(seed): no \(answer) among \(run.codeCounts)")
            }
        }
    }
}

/// One sequence of random calls, and what it remembers between them.
struct RandomRun {
    let queue: TestQueue
    var generator: SeededGenerator
    var trace: [String] = []
    /// How often each function returned each code; "ok" for none.
    var codeCounts: [String: Int] = [:]
    private var previous: Snapshot?
    /// Tasks that a call since the last check may have retried.
    private var reopened: Set<String> = []
    private var deletes = false
    private var reconciled = ""

    init(queue: TestQueue, generator: SeededGenerator) {
        self.queue = queue
        self.generator = generator
    }

    private mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &generator)] }
    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &generator) < percent }
    private mutating func id() -> String { "t\(Int.random(in: 0..<40, using: &generator))" }
    private mutating func worker() -> String { "w\(Int.random(in: 0..<4, using: &generator))" }

    mutating func step() async throws {
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<18: try await submit()
        case 18..<36: try await pull()
        case 36..<44: try await report("start")
        case 44..<50: try await report("heartbeat")
        case 50..<68: try await finish()
        case 68..<71: try await report("release")
        case 71..<76: try await aboutTask("cancel")
        case 76..<80: try await aboutTask("retry")
        case 80..<83: try await aboutTask("purge")
        case 83..<87:
            let grace: [RedisArgument] = chance(70) ? ["grace_ms", pick(["0", "2000"])] : []
            try await call("register", ["worker", .string(worker()), "slots", "3"] + grace)
        case 87..<88: try await call(pick(["deregister", "drain"]), ["worker", .string(worker())])
        case 88..<90: try await call("configure", ["paused", pick(["0", "0", "1"])])
        case 90..<92: try await reconcile()
        case 92..<93: try await call("stats", [])
        case 93..<96: try await report("log", ["stdout", "x"])
        default: try await passTime()
        }
    }

    /// Runs part of a pass, from where the last call ended.
    private mutating func reconcile() async throws {
        trace.append("reconcile from \(reconciled)")
        let reply = try await queue.call("reconcile", "cursor", .string(reconciled), "limit", pick(["1", "5", "100"]))
        reconciled = reply[0]?.string ?? ""
    }

    private mutating func submit() async throws {
        var arguments: [RedisArgument] =
            chance(30) ? ["batch", .string("b\(Int.random(in: 0..<9, using: &generator))")] : []
        var ids: Set<String> = []
        for _ in 0..<(chance(40) ? Int.random(in: 2...5, using: &generator) : 1) { ids.insert(id()) }
        for id in ids.sorted() {
            arguments += ["task", .string(id), "priority", .string(pick(TaskPriority.allCases).rawValue)]
            arguments += ["max_retries", pick(["0", "1", "2"]), "timeout_ms", pick(["4000", "60000"])]
            if chance(20) { arguments += ["delay_ms", "3000"] }
            if chance(20) { arguments += ["request", .string(id)] }
        }
        try await call("submit", arguments)
    }

    private mutating func pull() async throws {
        var arguments: [RedisArgument] = ["worker", .string(worker()), "max", pick(["0", "1", "2", "3"])]
        if chance(60) { arguments += ["start", "1"] }
        if chance(40) { arguments += ["holding", pick(["0", "1", "3"])] }
        try await call("pull", arguments)
    }

    /// Returns a worker and an attempt for `task`: mostly those of its lease, sometimes others.
    private mutating func claim(_ task: String) async throws -> (worker: String, attempt: Int) {
        let fields = try await queue.raw("HMGET", "{}task:" + task, "worker", "attempt").array ?? []
        let attempt = max(1, Int(fields.last?.int ?? 1) - (chance(10) ? 1 : 0))
        let holder = fields.first?.string ?? worker()
        return (chance(90) ? holder : worker(), attempt)
    }

    private mutating func report(_ function: String, _ more: [RedisArgument] = []) async throws {
        let task = try await liveTask()
        let (worker, attempt) = try await claim(task)
        try await call(
            function, ["worker", .string(worker), "task", .string(task), "attempt", .integer(Int64(attempt))] + more)
    }

    private mutating func finish() async throws {
        let task = try await liveTask()
        let (worker, attempt) = try await claim(task)
        var arguments: [RedisArgument] = ["worker", .string(worker)]
        if chance(40) { arguments += ["pull", "2", "start", "1", "holding", pick(["0", "1", "2"])] }
        arguments += ["task", .string(task), "attempt", .integer(Int64(attempt))]
        arguments += ["outcome", pick(["completed", "completed", "failed", "timeout", "ended"])]
        if chance(20) { arguments += ["retryable", "0"] }
        try await call("finish", arguments)
    }

    /// Mostly a task with a lease.
    private mutating func liveTask() async throws -> String {
        if chance(20) {
            // One whose process is ending, with its worker.
            let ending = try await queue.raw("ZRANGE", "{}ending", "0", "-1").array?.compactMap(\.string) ?? []
            if !ending.isEmpty { return String(pick(ending).prefix { $0 != " " }) }
        }
        let live = try await queue.raw("ZRANGE", "{}leases", "0", "-1").array?.compactMap(\.string) ?? []
        return live.isEmpty || chance(15) ? id() : pick(live)
    }

    private mutating func aboutTask(_ function: String) async throws {
        let task = id()
        if function == "retry" { reopened.insert(task) }
        if function == "purge" { deletes = true }
        try await call(function, ["task", .string(task)])
    }

    private mutating func passTime() async throws {
        let seconds = pick([1, 3, 6, 20])
        trace.append("\(seconds) s pass")
        try await queue.age(by: .seconds(seconds))
        // Most workers are alive, and send heartbeats.
        for n in 0..<4 where chance(75) { try await call("heartbeat", ["worker", .string("w\(n)")]) }
        try await call("tick", ["limit", pick(["2", "100"]), "cleanup", pick(["0", "1"])])
        previous = nil
    }

    private mutating func call(_ function: String, _ arguments: [RedisArgument]) async throws {
        trace.append("\(function) \(arguments)")
        do {
            let reply = try await queue.call(function, arguments)
            let codes = ((reply.array ?? []) + (reply[0]?.array ?? [])).compactMap(\.error?.code)
            for code in codes.isEmpty ? ["ok"] : codes { codeCounts["\(function) \(code)", default: 0] += 1 }
        } catch let error as RedisError {
            codeCounts["\(function) \(error.code)", default: 0] += 1
            let expected: Set = ["TASKEXISTS", "QUEUEFULL", "WORKERNOTFOUND", "LEASELOST", "TASKNOTFOUND"]
            guard expected.contains(error.code) else { throw error }
        }
    }

    /// Checks all invariants: also that attempt numbers only grow, and that an ended task stays as it ended unless a
    /// person retried it.
    mutating func check() async throws {
        let now = try await queue.snapshot()
        var found: [String] = []
        if let repaired = now.hash("stats")["repaired"] { found.append("the queue was repaired \(repaired) times") }
        for id in previous?.taskIDs ?? [] {
            guard let before = previous?.task(id).filter({ $0.key != "ending" }), let state = previous?.state(id)
            else { continue }
            let after = now.task(id).filter { $0.key != "ending" }
            if after.isEmpty {
                if !deletes { found.append("task \(id) is gone") }
                continue
            }
            let wasReplaced = deletes && after["submitted_at"] != before["submitted_at"]
            if wasReplaced { continue }
            if (Int(after["attempt"] ?? "") ?? 0) < (Int(before["attempt"] ?? "") ?? 0) {
                found.append("task \(id) went from attempt \(before["attempt"] ?? "") to \(after["attempt"] ?? "none")")
            }
            // The log may take late output.
            func ended(_ fields: [String: String]) -> [String: String] { fields.filter { !$0.key.hasPrefix("log_") } }
            if state.isTerminal, !reopened.contains(id), ended(after) != ended(before) {
                found.append("task \(id) had ended as \(state.rawValue), and changed to \(after)")
            }
            if after["tag"] != before["tag"] { found.append("task \(id) changed its place in line") }
        }
        previous = now
        reopened = []
        deletes = false
        guard found.isEmpty else { throw SnapshotViolations(queue: queue.name, violations: found) }
    }
}
