import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// The operations on tasks.
extension ModelRun {
    private static let lanes: [(arguments: [RedisArgument], name: String)] = [
        (["requires", "gpu"], "gpu"),
        (["requires", "os=linux", "cpu", "2"], "os=linux,+cpu=2"),
        (["requires", "zone!=eu"], "zone!=eu"),
        (["requires", "zone=eu|us", "cpu", "0.5"], "zone=eu|us,+cpu=0.5"),
        (["cpu", "6"], "+cpu=6"),
        (["cpu", "1", "resources", "license=1"], "+cpu=1,+license=1"),
        (["requires", "quantum"], "quantum"),
    ]

    /// A fair queue is one from its first task on; with one in each level, both sides know every virtual time.
    mutating func makeFair() async throws {
        var tasks: [ModelTask] = []
        var arguments: [RedisArgument] = []
        for priority in TaskPriority.allCases {
            var task = ModelTask(id: "first-\(priority.rawValue)")
            task.priority = priority
            task.timeout = 7_200_000
            task.fairnessKey = "a"
            arguments += ["task", .string(task.id), "priority", .string(priority.rawValue), "fairness_key", "a"]
            arguments += ["max_retries", "0"]
            tasks.append(task)
        }
        try await submit(tasks, arguments, [:])
    }

    mutating func submit() async throws {
        var tasks: [ModelTask] = []
        var arguments: [RedisArgument] = []
        var delays: [String: Int] = [:]
        let known = ids { _ in true }
        var batch: String?
        if chance(20) {
            batch = "b\(nextID)"
            arguments += ["batch", .string("b\(nextID)")]
        }
        let isAsked = chance(30)
        if isAsked { arguments += ["position", "1"] }
        for _ in 0..<(chance(40) ? Int.random(in: 2...5, using: &generator) : 1) {
            var task = ModelTask(id: "t\(nextID)")
            nextID += 1
            task.batch = batch
            task.priority = pick(TaskPriority.allCases)
            task.maxRetries = pick([0, 1, 2])
            task.timeout = pick([1_500_000, 7_200_000])
            arguments += [
                "task", .string(task.id), "priority", .string(task.priority.rawValue),
                "max_retries", .integer(Int64(task.maxRetries)), "timeout_ms", .integer(Int64(task.timeout)),
            ]
            if chance(50) {
                let lane = pick(Self.lanes)
                task.lane = lane.name
                arguments += lane.arguments
            }
            if chance(12) {
                delays[task.id] = 900_000
                arguments += ["delay_ms", "900000"]
            }
            if chance(40) { arguments += limits(of: &task) }
            if chance(30) { arguments += relations(of: &task, known + tasks.map(\.id)) }
            if model.settings.isFair, chance(70) {
                task.fairnessKey = pick(["a", "b", "c"])
                task.fairnessWeight = pick([1, 3, 0.5])
                arguments += [
                    "fairness_key", .string(task.fairnessKey), "fairness_weight", .string("\(task.fairnessWeight)"),
                ]
            }
            tasks.append(task)
        }
        if chance(3), let first = tasks.first {
            arguments += ["task", .string(first.id)]
            tasks.append(ModelTask(id: first.id))
        }
        try await submit(tasks, arguments, delays, isAsked: isAsked)
    }

    private mutating func limits(of task: inout ModelTask) -> [RedisArgument] {
        var arguments: [RedisArgument] = []
        if chance(75) {
            let key = pick(["k1", "k2"])
            task.concurrencyKey = key
            task.concurrencyLimit = pick([1, 1, 2])
            arguments += [
                "concurrency_key", .string(key), "concurrency_limit", .integer(Int64(task.concurrencyLimit)),
            ]
        }
        if chance(30) {
            task.rateKey = "r"
            task.rateInterval = 600_000 * 5 / 3
            task.rateBurst = 2
            arguments += ["rate_key", "r", "rate_per_second", "0.001", "rate_burst", "2"]
        }
        return arguments
    }

    private mutating func relations(of task: inout ModelTask, _ others: [String]) -> [RedisArgument] {
        var arguments: [RedisArgument] = []
        if chance(70), !others.isEmpty {
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let other = pick(Array(others.suffix(15)))
                if !task.dependencies.contains(other) { task.dependencies.append(other) }
            }
            arguments += ["depends_on", .string(task.dependencies.joined(separator: ","))]
            if chance(20) {
                task.runAnyway = true
                arguments += ["run_anyway", "1"]
            }
        }
        if chance(40) {
            let key = pick(["u1", "u2", "u3"])
            task.uniqueKey = key
            arguments += ["unique_key", .string(key)]
            if chance(50) {
                task.uniqueFor = 1_500_000
                arguments += ["unique_for_ms", "1500000"]
            }
        }
        return arguments
    }

    private mutating func submit(
        _ tasks: [ModelTask], _ arguments: [RedisArgument], _ delays: [String: Int], isAsked: Bool = false
    ) async throws {
        var reply: RESPValue?
        var code: String?
        do {
            reply = try await call("submit", arguments)
        } catch let error as RedisError {
            code = error.code
        }
        let places = try await places(of: tasks)
        let (answer, misplaced) = model.submit(tasks, delays: delays) { places[$0] }
        if !misplaced.isEmpty { throw Disagreement(sentences: misplaced) }
        switch answer {
        case .refused(let expected):
            try expect(code == expected, "submit answered \(code ?? "ok"), expected \(expected)")
        case .accepted(let expected):
            let found = (reply?.array ?? []).map { $0.array?.first?.string ?? "" }
            try expect(found == expected.map(\.id), "submit answered \(code ?? "\(found)"), expected \(expected)")
            let positions = (reply?.array ?? []).map { Int($0[3]?.int ?? -2) }
            try expect(
                positions == expected.map { isAsked ? $0.position : -1 },
                "submit answered the positions \(positions), expected \(expected)")
        }
        done["submit \(code ?? "ok")", default: 0] += 1
    }

    /// Where Redis has put tasks.
    func places(of tasks: [ModelTask]) async throws -> [String: Double] {
        let replies = try await queue.redis.client.pipeline(
            tasks.map { RedisCommand("HGET", .string(queue.keys.prefix + "task:" + $0.id), "place") })
        let places = zip(tasks, replies).map { ($0.id, $1.string.flatMap(Double.init)) }
        return Dictionary(places) { first, _ in first }.compactMapValues { $0 }
    }

    mutating func start() async throws {
        guard let id = ids({ $0.state == .assigned }).randomElement(using: &generator), let task = model.tasks[id]
        else { return }
        try await call("start", claim(task))
        model.start(id)
    }

    mutating func release() async throws {
        guard let id = ids({ $0.state == .assigned }).randomElement(using: &generator), let task = model.tasks[id]
        else { return }
        try await call("release", claim(task))
        model.release(id)
    }

    private func claim(_ task: ModelTask) -> [RedisArgument] {
        [
            "worker", .string(task.worker ?? ""), "task", .string(task.id), "attempt", .integer(Int64(task.attempt)),
        ]
    }

    mutating func finish() async throws {
        guard let id = ids({ $0.state == .running }).randomElement(using: &generator), let task = model.tasks[id]
        else { return }
        let worker = task.worker ?? ""
        let outcome = pick(["completed", "completed", "completed", "failed", "timeout"])
        let retryable = !chance(25)
        let pulls = chance(50)
        var arguments: [RedisArgument] = pulls ? ["pull", "2", "start", "1"] : []
        arguments += claim(task) + ["outcome", .string(outcome), "retryable", retryable ? "1" : "0"]
        // Whoever comes with an old attempt changes nothing.
        if chance(10), task.attempt > 1 {
            let stale = try await queue.finish(worker, id, attempt: task.attempt - 1, "completed")
            try expect(stale.error?.code == "LEASELOST", "an old attempt of \(id) was answered \(stale)")
        }
        let reply = try await call("finish", arguments)
        model.finish(id, outcome: outcome, retryable: retryable)
        let state = reply[0]?.array?.first?.string ?? "\(reply)"
        let expected = model.tasks[id]?.state.rawValue ?? ""
        try expect(state == expected, "finish of \(id) answered \(state), expected \(expected)")
        guard pulls else { return }
        let next = model.pull(worker, max: 2, start: true)
        try compare(reply[1]?.assignments ?? [], next)
    }

    mutating func cancel() async throws {
        let open = ids { !$0.state.isTerminal }
        guard let id = open.randomElement(using: &generator) else { return }
        if chance(40) {
            let some = Array(Set([id] + (0..<4).map { _ in pick(open) })).sorted()
            try await call("cancel", some.flatMap { ["task", .string($0)] as [RedisArgument] })
            model.cancel(some)
        } else if !isSimple, let batch = model.tasks[id]?.batch {
            try await call("cancel_batch", ["batch", .string(batch)])
            model.cancel(ids { $0.batch == batch })
        } else {
            try await call("cancel", ["task", .string(id)])
            model.cancel([id])
        }
    }

    mutating func retry() async throws {
        let ended = ids { $0.state.isTerminal && $0.state != .completed }
        guard let id = ended.randomElement(using: &generator) else { return }
        try await call("retry", ["task", .string(id)])
        model.retry(id)
    }

    mutating func prioritize() async throws {
        guard let id = ids({ $0.state == .pending }).randomElement(using: &generator) else { return }
        let priority = pick(TaskPriority.allCases)
        try await call("prioritize", ["priority", .string(priority.rawValue), "task", .string(id)])
        model.prioritize(id, priority)
    }
}
