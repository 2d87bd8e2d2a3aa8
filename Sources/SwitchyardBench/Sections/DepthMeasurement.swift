import RedisClient
import Switchyard

/// Measures whether the cost of a call depends on the number of pending tasks.
///
/// Each depth has its own queue, on its own redis-server unless one is given. A round visits every depth, so that
/// changes of the machine's speed affect all depths alike.
struct DepthMeasurement: Sendable {
    let context: BenchContext
    /// The URL of a given server, which then has all queues; nil starts a server for each depth.
    let given: String?

    /// Limit on the tasks that a visit submits. They are never more than the smallest depth.
    private static let calls = 1000
    /// Pages of the list that a visit reads.
    private static let pages = 20

    /// The result of one visit: Redis µs per call, by operation.
    private typealias Visit = [String: Double]
    private static let operations = [
        ("submit", "submit"), ("pull", "pull + start"), ("prioritize", "change priority"), ("cancel", "cancel"),
        ("stats", "stats"), ("list", "list, a page of 50"),
    ]

    static func queue(_ depth: Int) -> String { "\(BenchRedis.queue)-\(depth)" }

    func run() async throws -> [Figure] {
        let visits = try await filled(context.plan.depths[...], []) { sites in
            var visits: [Int: [Visit]] = [:]
            for round in 0...context.plan.depthRounds {
                context.say(round == 0 ? "warm-up" : "round \(round) of \(context.plan.depthRounds)")
                for site in sites {
                    let visit = try await visit(site)
                    // Round 0 warms up.
                    if round > 0 { visits[site.depth, default: []].append(visit) }
                }
            }
            return visits
        }
        return figures(visits)
    }

    private struct Site: Sendable {
        let depth: Int
        let context: BenchContext
    }

    /// Opens and fills a queue for each depth, and runs `body` with all of them.
    private func filled<Value: Sendable>(
        _ depths: ArraySlice<Int>, _ sites: [Site], _ body: ([Site]) async throws -> Value
    ) async throws -> Value {
        guard let depth = depths.first else { return try await body(sites) }
        let queue = Self.queue(depth)
        return try await BenchRedis.using(given: given, queues: [queue], logger: context.logger) { redis in
            let own = context.on(redis, queue: queue)
            context.say("submitting \(Figure.Unit.grouped(Double(depth))) tasks")
            try await own.freshQueue()
            try await own.load(perCall: SchedulerHandle.tasksPerCall, callers: 2).submit(depth)
            try await own.settle(queue, depth: depth)
            return try await filled(depths.dropFirst(), sites + [Site(depth: depth, context: own)], body)
        }
    }

    /// Measures each operation once. It submits as many tasks as it cancels and completes, so that the depth stays the
    /// same.
    private func visit(_ site: Site) async throws -> Visit {
        let load = try site.context.load(perCall: 1)
        let client = site.context.client
        let functions = QueueFunctions(queue: site.context.queue, client: client, logger: context.logger)
        let calls = min(Self.calls, context.plan.depths.min() ?? Self.calls)
        let half = max(calls / 2, 1)
        var visit: Visit = [:]

        func measure(_ name: String, _ count: Int, _ body: () async throws -> Void) async throws {
            visit[name] = try await BenchSample.measure(client, count: count, body).cpuMicroseconds
        }

        var ids: [String] = []
        try await measure("submit", calls) { ids = try await load.submit(calls) }
        let chosen = Array(ids.shuffled().prefix(half))
        try await measure("prioritize", half) {
            try await load.call(half) { index in
                _ = try await functions.call("prioritize", ["priority", "low", "task", .string(chosen[index])])
            }
        }
        try await measure("cancel", half) {
            try await load.call(half) { _ = try await functions.call("cancel", ["task", .string(chosen[$0])]) }
        }
        let workers = try await load.register(half)
        var started = workers
        try await measure("pull", half) { started = try await load.pullStarted(workers) }
        try await load.finish(started)
        try await measure("stats", half) { try await load.call(half) { _ in _ = try await load.handle.getStats() } }
        try await measure("list", Self.pages) {
            try await load.call(Self.pages) { _ in _ = try await functions.call("list", ["limit", "50"]) }
        }
        return visit
    }

    private func figures(_ visits: [Int: [Visit]]) -> [Figure] {
        let depths = context.plan.depths
        var figures: [Figure] = []
        for (name, label) in Self.operations {
            for depth in depths {
                let samples = (visits[depth] ?? []).compactMap { $0[name] }
                figures.append(
                    Figure(
                        ["depth", "\(depth)", "\(name)_us"],
                        "\(label), \(Figure.Unit.grouped(Double(depth))) pending",
                        .microseconds, samples, floor: .call))
            }
            guard let least = depths.first, let most = depths.last, depths.count > 1 else { continue }
            let ratios = zip(visits[most] ?? [], visits[least] ?? []).compactMap { deep, shallow -> Double? in
                guard let deep = deep[name], let shallow = shallow[name], shallow > 0 else { return nil }
                return deep / shallow
            }
            figures.append(
                Figure(["depth_ratio", name], "\(label), the deepest to the shallowest", .ratio, ratios))
        }
        return figures
    }
}
