import ArgumentParser
import Foundation
import Logging
import SwitchyardTorture

struct RunTorture: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "torture",
        abstract: "Run a workload under faults on this machine, and check that nothing is lost or done twice.",
        discussion: """
            Starts a private redis-server, replicas and workers, and submits tasks while processes are killed or \
            stopped, connections are cut, and Redis is full, busy or away. Then it compares what clients were told, \
            what was executed and what Redis has. It exits with 1 if it finds a violation. The seed repeats the \
            choices of calls and faults, not what the machine makes of them.

            One run has one kind of Redis: a server; a primary, two Redis replicas and three sentinels, which \
            sentinel-failover needs; or a Redis Cluster, which cluster-failover and reshard need. Faults of workers, \
            of replicas and of connections go with each of them, all others with a server. Submissions then wait for \
            all Redis replicas; those that these do not have in time may be lost in a failover, and so may the last \
            changes other than submissions.
            """,
        subcommands: [TortureHandlers.self])

    @OptionGroup var output: OutputOptions

    @Option(help: ArgumentHelp("The seed of all choices (default: random).", valueName: "n"))
    var seed: UInt64?

    @Option(help: ArgumentHelp("How long to submit tasks and make faults (default 1m).", valueName: "duration"))
    var duration: Seconds?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Make only these faults (default: all that go with this kind of Redis).", valueName: "fault"))
    var faults: [FaultKind] = []

    @Option(
        help: ArgumentHelp(
            "server, sentinel or cluster (default: the first of them with which all the faults go).",
            valueName: "kind"))
    var redis: RedisKind?

    @Flag(help: "In the end delete all tasks, and check that nothing is left of them. It takes more than a minute.")
    var deleteAll = false

    @Option(help: ArgumentHelp("The file of another function library, with a planted fault.", visibility: .hidden))
    var library: String?

    func run() async throws {
        LogFormat.bootstrap(.text, level: .error)
        var plan = TorturePlan()
        plan.seed = seed ?? UInt64.random(in: 1...999_999)
        plan.duration = duration?.duration ?? plan.duration
        do {
            try plan.choose(faults: faults, on: redis)
        } catch {
            throw ValidationError("\(error)")
        }
        plan.deletesAll = deleteAll
        plan.library = try library.map { try String(contentsOfFile: $0, encoding: .utf8) }
        let torture = Torture(
            plan: plan, program: ProgramPath.current, logger: Logger(label: "switchyard.torture")
        ) { line in
            // This is only progress: the run continues if stderr is closed.
            try? Console.error.line("torture: \(line)")
        }
        try Console.error.line("torture: seed \(plan.seed)")
        let report = try await Interruption.cancelling { try await torture.run() }
        if output.isJSON {
            try Console.out.json(report.json.text)
        } else {
            for line in report.text.split(separator: "\n") { try Console.out.line(String(line)) }
        }
        if !report.violations.isEmpty { throw Failure(.error, "\(report.violations.count) violations") }
    }
}

extension FaultKind: ExpressibleByArgument {}
extension RedisKind: ExpressibleByArgument {}

/// A worker whose handler runs the tasks of `switchyard torture`, which starts it.
struct TortureHandlers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "handlers", abstract: "A worker of torture's tasks.", shouldDisplay: false)

    @OptionGroup var options: RunOptions
    @OptionGroup var redis: RedisOptions
    @Option var id: String
    @Argument var journal: String

    func run() async throws {
        let settings = try await options.start(redis.flags)
        try await TortureWorker.run(
            id: id, queue: settings.text(.queue), redis: settings.redisInstances().first, journal: journal,
            logger: Logger(label: "switchyard.worker"))
    }
}
