/// Measures the whole life of tasks at saturation, and each function by itself: Redis's processor time and throughput.
struct LifeMeasurement: Sendable {
    let context: BenchContext

    /// Tasks in one call, each number with its name in the JSON.
    private static let sizes = [(1, "single"), (16, "batch"), (100, "batch_100")]

    private struct Run: Sendable {
        var life: BenchLoad.Life
        var apart: Apart
    }

    /// The cost of each function measured by itself: every worker calls it once.
    private struct Apart: Sendable {
        var pull, start, finish, pullStart: BenchSample
    }

    func run() async throws -> [Figure] {
        var lives: [Figure] = []
        var functions: [Figure] = []
        for (perCall, name) in Self.sizes {
            let load = try context.load(perCall: perCall)
            let runs = try await context.runs("\(load.callers) workers, \(perCall) a call") { isWarmUp in
                let tasks = context.share(of: context.plan.tasks, isWarmUp: isWarmUp)
                let apart = try await measureApart(load, tasks: max(tasks / 4, perCall))
                try await context.freshQueue()
                return Run(life: try await load.life(tasks), apart: apart)
            }
            let whole = runs.map(\.life.whole)
            lives += [
                Self.figure(
                    ["redis_us_per_task", name], "whole life, \(Self.size(perCall)), \(load.callers) workers", whole),
                Figure(["life_per_second", name], nil, .perSecond, whole.map(\.perSecond), floor: .life),
                Figure(["life_commands", name], nil, .count, whole.map(\.commands)),
            ]
            functions += Self.functions(runs, perCall, name)
        }
        return lives + (try await withoutResults()) + functions + (try await byWorkers())
    }

    /// Measures the whole life with reports that have neither an exit code nor a result.
    private func withoutResults() async throws -> [Figure] {
        var figures: [Figure] = []
        for (perCall, name) in Self.sizes {
            var load = try context.load(perCall: perCall)
            load.reportsResults = false
            let label = "whole life without results, \(Self.size(perCall))"
            let lives = try await context.runs(label) { [load] isWarmUp in
                try await load.life(context.share(of: context.plan.tasks / 4, isWarmUp: isWarmUp)).whole
            }
            figures.append(Self.figure(["redis_us_per_task_without_results", name], label, lives))
        }
        return figures
    }

    private static func functions(_ runs: [Run], _ perCall: Int, _ size: String) -> [Figure] {
        let named: [(name: String, samples: [BenchSample])] = [
            ("submit", runs.map(\.life.submit)), ("pull", runs.map(\.apart.pull)),
            ("start", runs.map(\.apart.start)), ("finish", runs.map(\.apart.finish)),
            ("pull_start", runs.map(\.apart.pullStart)), ("finish_pull", runs.map(\.life.finishPull)),
        ]
        return named.flatMap { name, samples in
            let path = ["functions", name, size]
            let label = name.replacing("_", with: " + ") + ", " + Self.size(perCall)
            return [
                figure(path + ["redis_us"], label, samples),
                Figure(path + ["function_us"], nil, .microseconds, samples.map(\.functionMicroseconds), floor: .call),
                Figure(path + ["commands"], nil, .count, samples.map(\.commands)),
            ]
        }
    }

    private func measureApart(_ load: BenchLoad, tasks: Int) async throws -> Apart {
        let workers = try await load.register(max(tasks / load.perCall, 1))
        let tasks = workers.joined().count * load.perCall
        let client = context.client
        // One half for `pull`, the other for `pull_start`.
        try await load.submit(2 * tasks)
        var holders: [[BenchLoad.Holder]] = []
        let pull = try await BenchSample.measure(client, count: tasks) { holders = try await load.pull(workers) }
        let start = try await BenchSample.measure(client, count: tasks) { try await load.start(holders) }
        let finish = try await BenchSample.measure(client, count: tasks) { try await load.finish(holders) }
        let pullStart = try await BenchSample.measure(client, count: tasks) {
            holders = try await load.pullStarted(workers)
        }
        return Apart(pull: pull, start: start, finish: finish, pullStart: pullStart)
    }

    /// Measures the whole life with 1 to 256 workers, one for each caller, as far as the plan's concurrency allows.
    private func byWorkers() async throws -> [Figure] {
        let most = context.plan.concurrency
        var figures: [Figure] = []
        for (perCall, name) in Self.sizes {
            for workers in [1, 4, 16, 64, 256] where workers == 1 || workers * perCall <= most {
                let label = "whole life, \(Self.size(perCall)), \(workers) worker\(workers == 1 ? "" : "s")"
                let load = try context.load(perCall: perCall, callers: workers)
                let runs = try await context.runs(label) { isWarmUp in
                    let tasks = context.share(of: context.plan.tasks / 4, isWarmUp: isWarmUp)
                    return try await load.life(tasks).whole
                }
                figures += Self.figures(["by_workers", name, "\(workers)"], label, runs)
            }
        }
        return figures
    }

    private static func figures(_ path: [String], _ label: String, _ samples: [BenchSample]) -> [Figure] {
        let cpu = Figure(path + ["redis_us"], nil, .microseconds, samples.map(\.cpuMicroseconds), floor: .call)
        let perSecond = Figure(
            path + ["per_second"], label, .perSecond, samples.map(\.perSecond), floor: .life,
            note: "Redis \(cpu.unit.text(cpu.value)) a task")
        return [perSecond, cpu]
    }

    private static func size(_ perCall: Int) -> String { perCall == 1 ? "a call per task" : "batches of \(perCall)" }

    private static func figure(_ path: [String], _ label: String, _ samples: [BenchSample]) -> Figure {
        let commands = Figure.Unit.decimals(Figure.median(samples.map(\.commands)), 1)
        let perSecond = Figure.Unit.perSecond.text(Figure.median(samples.map(\.perSecond)))
        let inside = Figure.Unit.microseconds.text(Figure.median(samples.map(\.functionMicroseconds)))
        return Figure(
            path, label, .microseconds, samples.map(\.cpuMicroseconds), floor: .call,
            note: "\(commands) commands, \(inside) in functions by the clock, \(perSecond)")
    }
}
