import ArgumentParser

/// What is measured, a chapter of the report each.
enum BenchSection: String, CaseIterable, Sendable, ExpressibleByArgument {
    case submit, life, options, drain, latency, memory, depth, partitions, idle, bounds

    /// Takes minutes, and says nothing of what a task costs: only when it is asked for.
    static let usual = allCases.filter { $0 != .bounds }
}

/// How much of everything is measured.
struct BenchPlan: Sendable {
    var sections = BenchSection.usual
    /// How often everything is measured, after a warm-up.
    var runs = 3
    /// In each run of `submit` and `life`.
    var tasks = 20_000
    /// Callers at once, for a task per call; batches have fewer.
    var concurrency = 64
    var drainTasks = 200_000
    /// How many worker processes drain the queue: each number by itself.
    var workers = [1, 2]
    /// Of each worker process.
    var slots = 200
    /// Starts that are timed in each run.
    var starts = 1500
    /// Whose memory is measured; it is the same every time, so once.
    var memoryTasks = 50_000
    /// How many tasks are pending.
    var depths = [1000, 100_000, 1_000_000]
    /// How often each depth is visited, in turn.
    var depthRounds = 10
    var idle: Duration = .seconds(10)
    /// In the largest situation of `bounds`; the others have a tenth or a twentieth of it.
    var boundTasks = 1_000_000

    /// Less than a minute on a quiet machine; the figures scatter more.
    static var quick: BenchPlan {
        var plan = BenchPlan()
        plan.tasks = 3000
        plan.drainTasks = 30_000
        plan.starts = 150
        plan.memoryTasks = 10_000
        plan.depthRounds = 3
        plan.idle = .seconds(3)
        plan.boundTasks = 50_000
        return plan
    }
}
