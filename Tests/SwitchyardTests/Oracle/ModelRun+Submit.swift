import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Submissions of tasks with all possible options.
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

    /// Rates whose interval divides neither a second nor a step of time.
    private static let rates = [
        ModelRate(key: "r3", perSecond: "0.003", burst: 2), ModelRate(key: "r3", perSecond: "0.003", burst: 1),
        ModelRate(key: "r7", perSecond: "0.007", burst: 3), ModelRate(key: "r03", perSecond: "0.0003", burst: 2),
    ]

    /// A queue becomes fair with its first tenant. With one in each level, Redis and the model know every virtual time.
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
        try await submit(tasks, arguments)
    }

    mutating func submit() async throws {
        var tasks: [ModelTask] = []
        var arguments: [RedisArgument] = []
        var batch: String?
        nextID += 1
        if chance(20) {
            batch = "b\(nextID)"
            arguments += ["batch", .string("b\(nextID)")]
        }
        let isAsked = chance(30)
        if isAsked { arguments += ["position", "1"] }
        for _ in 0..<(chance(40) ? Int.random(in: 2...5, using: &generator) : 1) {
            let task = newTask(batch: batch, before: tasks.map(\.id))
            arguments += task.arguments
            tasks.append(task.task)
        }
        if chance(3), let first = tasks.first {
            arguments += ["task", .string(first.id)]
            tasks.append(ModelTask(id: first.id))
        }
        try await submit(tasks, arguments, isAsked: isAsked)
    }

    /// Returns a new task, and the arguments that submit it.
    /// - Parameter before: Tasks of the same submission on which it may depend.
    mutating func newTask(batch: String?, before: [String]) -> (task: ModelTask, arguments: [RedisArgument]) {
        var task = ModelTask(id: newID(before))
        task.batch = batch
        task.priority = pick(TaskPriority.allCases)
        task.maxRetries = pick([0, 1, 2])
        task.timeout = pick([1_500_000, 7_200_000])
        var arguments: [RedisArgument] = [
            "task", .string(task.id), "priority", .string(task.priority.rawValue),
            "max_retries", .integer(Int64(task.maxRetries)), "timeout_ms", .integer(Int64(task.timeout)),
        ]
        if chance(50) {
            let lane = pick(Self.lanes)
            task.needs = lane.name
            arguments += lane.arguments
        }
        if chance(30) {
            let grace = pick([0, 300_000, 1_800_000])
            task.grace = grace
            arguments += ["grace_ms", .integer(Int64(grace))]
        }
        if chance(12) {
            task.delay = 900_000
            arguments += ["delay_ms", "900000"]
        }
        if chance(40) { arguments += limits(of: &task) }
        if chance(30) { arguments += relations(of: &task, ids { _ in true } + before) }
        if model.settings.isFair, chance(70) {
            task.fairnessKey = hasOneTimeTenants && chance(70) ? "once-\(task.id)" : pick(["a", "b", "c"])
            task.fairnessWeight = pick([1, 3, 0.5])
            arguments += [
                "fairness_key", .string(task.fairnessKey), "fairness_weight", .string("\(task.fairnessWeight)"),
            ]
        }
        return (task, arguments)
    }

    /// Mostly a new id; also that of a task that no longer exists, or that is staged.
    private mutating func newID(_ taken: [String]) -> String {
        let staged = model.stages.values.flatMap(\.tasks).map(\.id).sorted()
        let unopened = Set(model.batchWork.flatMap(\.unopened).map(\.id))
        func isFree(_ id: String) -> Bool { model.tasks[id] == nil && !unopened.contains(id) && !taken.contains(id) }
        let candidates = (chance(50) ? gone.suffix(8) : staged.suffix(8)).filter(isFree)
        if chance(15), !candidates.isEmpty { return pick(candidates) }
        nextID += 1
        return "t\(nextID)"
    }

    private mutating func limits(of task: inout ModelTask) -> [RedisArgument] {
        var arguments: [RedisArgument] = []
        if chance(75) {
            let limit = ModelLimit(key: pick(["k1", "k2"]), limit: pick([1, 1, 2]))
            task.concurrency = limit
            arguments += [
                "concurrency_key", .string(limit.key), "concurrency_limit", .integer(Int64(limit.limit)),
            ]
        }
        if chance(30) {
            let rate = pick(Self.rates)
            // A rate that is never idle adds up the differences between the clocks of Redis and of the model.
            let waiting = model.tasks.values.filter { $0.state == .pending && $0.rate?.key == rate.key }.count
            guard waiting < (rate.interval > 1_000_000 ? 1 : 3) else { return arguments }
            task.rate = rate
            arguments += [
                "rate_key", .string(rate.key), "rate_per_second", .string(rate.perSecond),
                "rate_burst", .integer(Int64(rate.burst)),
            ]
        }
        return arguments
    }

    private mutating func relations(of task: inout ModelTask, _ others: [String]) -> [RedisArgument] {
        var arguments: [RedisArgument] = []
        if chance(70), !others.isEmpty {
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let other = pick(Array(others.suffix(15)))
                if !task.dependencies.contains(other), other != task.id { task.dependencies.append(other) }
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

    /// - Parameter stage: The token under which the tasks are staged.
    mutating func submit(
        _ tasks: [ModelTask], _ arguments: [RedisArgument], isAsked: Bool = false, stage: String? = nil
    ) async throws {
        var reply: RESPValue?
        var code: String?
        do {
            reply = try await call("submit", arguments)
        } catch let error as RedisError {
            code = error.code
        }
        let before = model.tenants.virtualTime
        try await adoptTenants()
        let tags = try await tags(of: tasks.map(\.id))
        let (answer, misplaced) = model.submit(tasks, stage: stage, before: before) { tags[$0] }
        if !misplaced.isEmpty { throw Disagreement(sentences: misplaced) }
        switch answer {
        case .refused(let expected):
            try expect(
                code == expected,
                "submit returned \(code ?? "ok"), expected \(expected); there are \(model.pendingCount) pending")
        case .accepted(let expected):
            let found = (reply?.array ?? []).map { $0.array?.first?.string ?? "" }
            try expect(found == expected.map(\.id), "submit returned \(code ?? "\(found)"), expected \(expected)")
            let positions = (reply?.array ?? []).map { Int($0[3]?.int ?? -2) }
            try expect(
                positions == expected.map { isAsked ? $0.position : -1 },
                "submit returned the positions \(positions), expected \(expected)")
        }
        done[(stage == nil ? "submit " : "stage ") + (code ?? "ok"), default: 0] += 1
    }

    /// The tags that Redis gave tasks.
    func tags(of ids: [String]) async throws -> [String: Double] {
        let replies = try await queue.redis.client.pipeline(
            ids.map { RedisCommand("HGET", .string(queue.keys.prefix + "task:" + $0), "tag") })
        let tags = zip(ids, replies).map { ($0, $1.string.flatMap(Double.init)) }
        return Dictionary(tags) { first, _ in first }.compactMapValues { $0 }
    }
}
