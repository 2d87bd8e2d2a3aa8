import ArgumentParser
import Foundation
import Logging
import SwitchyardBench

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure what a task costs Redis, the tasks per second, and how soon a task starts.",
        discussion: """
            Starts private redis-servers in temporary directories (append-only file, everysec), unless --redis names \
            a server (SWITCHYARD_REDIS is ignored). That server should have no other work; the queues whose names \
            begin with switchyard-bench are deleted. Redis µs are Redis's own processor time (INFO cpu), including \
            sockets. Every figure is the median of the runs, with its ratio to a floor measured on the same machine.
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var redis: RedisOptions

    @Flag(help: "Measure less: takes up to a minute.")
    var quick = false

    @Option(
        parsing: .upToNextOption,
        help: "Run only these sections, and the floor. bounds takes minutes, and runs only if named.")
    var only: [BenchSection] = []

    @Option(help: ArgumentHelp("Tasks in each run (default 20000).", valueName: "n"))
    var tasks: Int?

    @Option(help: ArgumentHelp("Runs of each measurement, after a warm-up (default 3).", valueName: "n"))
    var runs: Int?

    @Option(help: ArgumentHelp("Concurrent callers, with one task per call (default 64).", valueName: "n"))
    var concurrency: Int?

    @Option(help: ArgumentHelp("Tasks that worker processes drain (default 200000).", valueName: "n"))
    var drainTasks: Int?

    @Option(help: ArgumentHelp("Number of worker processes that drain; repeatable (default 1 and 2).", valueName: "n"))
    var workers: [Int] = []

    @Option(help: ArgumentHelp("Slots of each worker process (default 200).", valueName: "n"))
    var slots: Int?

    @Option(help: ArgumentHelp("Starts to time in each run (default 1500).", valueName: "n"))
    var starts: Int?

    @Option(
        help: ArgumentHelp(
            "Number of pending tasks, in growing order; repeatable (default 1000, 100000, 1000000).", valueName: "n"))
    var depth: [Int] = []

    @Option(help: ArgumentHelp("How long to watch idle processes (default 10).", valueName: "seconds"))
    var idle: Seconds?

    @Option(
        help: ArgumentHelp(
            "Tasks in the largest situation of bounds (default 1000000); the others have a tenth or a twentieth.",
            valueName: "n"))
    var boundTasks: Int?

    var plan: BenchPlan {
        var plan = quick ? BenchPlan.quick : BenchPlan()
        if !only.isEmpty { plan.sections = BenchSection.allCases.filter(only.contains) }
        plan.tasks = tasks ?? plan.tasks
        plan.memoryTasks = tasks.map { min($0, plan.memoryTasks) } ?? plan.memoryTasks
        plan.runs = runs ?? plan.runs
        plan.concurrency = concurrency ?? plan.concurrency
        plan.drainTasks = drainTasks ?? plan.drainTasks
        if !workers.isEmpty { plan.workers = workers }
        plan.slots = slots ?? plan.slots
        plan.starts = starts ?? plan.starts
        if !depth.isEmpty { plan.depths = depth }
        plan.idle = idle?.duration ?? plan.idle
        plan.boundTasks = boundTasks ?? plan.boundTasks
        return plan
    }

    func validate() throws {
        let plan = plan
        let bounds: [(String, [Int], ClosedRange<Int>)] = [
            ("--tasks", [plan.tasks], 100...1_000_000), ("--runs", [plan.runs], 1...100),
            ("--concurrency", [plan.concurrency], 1...1000), ("--drain-tasks", [plan.drainTasks], 100...10_000_000),
            ("--workers", plan.workers, 1...100), ("--slots", [plan.slots], 1...1000),
            ("--starts", [plan.starts], 10...1_000_000), ("--depth", plan.depths, 100...10_000_000),
            ("--bound-tasks", [plan.boundTasks], 100...10_000_000),
        ]
        for (name, values, range) in bounds {
            if let value = values.first(where: { !range.contains($0) }) {
                throw ValidationError("\(name): expected \(range.lowerBound) to \(range.upperBound), found \(value)")
            }
        }
        guard plan.depths == Set(plan.depths).sorted() else {
            throw ValidationError("--depth: expected growing depths, found \(plan.depths)")
        }
        guard plan.idle >= .milliseconds(100), plan.idle <= .seconds(3600) else {
            throw ValidationError("--idle: expected 0.1 to 3600 seconds, found \(plan.idle)")
        }
    }

    func run() async throws {
        LogFormat.bootstrap(.text, level: .warning)
        let suite = BenchSuite(
            given: redis.redis, plan: plan, program: ProgramPath.current, logger: Logger(label: "switchyard.bench")
        ) { line in
            // This is only progress: the benchmark continues if stderr is closed.
            try? Console.error.line("bench: \(line)")
        }
        if !BenchSuite.isOptimised {
            try Console.error.line("this is a debug build, whose client is slow: build with swift build -c release")
        }
        let report = try await Interruption.cancelling { try await suite.run() }
        if output.isJSON {
            try Console.out.json(report.json.text)
        } else {
            try Console.out.write(report.tables(colour: Console.out.hasColour))
        }
    }
}

extension BenchSection: ExpressibleByArgument {}
