/// A section of the benchmark. Each has a chapter in the report.
package enum BenchSection: String, CaseIterable, Sendable {
    case submit, life, options, drain, latency, memory, depth, partitions, idle, bounds

    /// The sections that run by default. `bounds` takes minutes and does not measure the cost of a task.
    static let usual = allCases.filter { $0 != .bounds }
}

/// How much each section measures.
package struct BenchPlan: Sendable {
    package var sections = BenchSection.usual
    /// Runs of each measurement, after a warm-up.
    package var runs = 3
    /// Tasks in each run of `submit` and `life`.
    package var tasks = 20_000
    /// Concurrent callers with one task per call. Larger calls have fewer callers.
    package var concurrency = 64
    /// Tasks in each run of `drain`.
    package var drainTasks = 200_000
    /// Numbers of worker processes that drain the queue; each number is measured by itself.
    package var workers = [1, 2]
    /// Slots of each worker process.
    package var slots = 200
    /// Starts that each run of `latency` times.
    package var starts = 1500
    /// Tasks whose memory is measured. There is one run, because the result is always the same.
    package var memoryTasks = 50_000
    /// Numbers of pending tasks that `depth` compares.
    package var depths = [1000, 100_000, 1_000_000]
    /// Rounds of `depth`. A round visits each depth once.
    package var depthRounds = 10
    /// How long `idle` watches.
    package var idle: Duration = .seconds(10)
    /// Tasks in the largest situation of `bounds`; the others have a tenth or a twentieth of it.
    package var boundTasks = 1_000_000

    package init() {}

    /// The plan of `--quick`: less than a minute on an idle machine. The figures scatter more.
    package static var quick: BenchPlan {
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
