import ArgumentParser
import Foundation
import JSON
import Logging
import ServiceLifecycle

struct Autoscale: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Keep as many worker processes on this machine as the queue needs.",
        usage: """
            SWITCHYARD_REDIS=URL switchyard autoscale --min 1 --max 8 -- \
            switchyard worker --id auto-{n}
            """,
        discussion: """
            COMMAND is a worker's argument vector; {n} in it is the worker's number, from 1. Workers are started as \
            soon as the server wants more; workers are drained (SIGTERM) once it has wanted fewer for the cool-down. A \
            worker that runs a task is never killed. If COMMAND is a script, it must exec the worker, so that the \
            worker gets the signal. A worker that exits with 64 (bad usage), or three times in a row with 5 \
            (another process has its id), is not started again: the pool drains and ends with this error.

            The workers have this command's environment: give them Redis's URL there (SWITCHYARD_REDIS), and not as a \
            flag, if it has a password: every user of the machine can read flags.

            A worker offers what the whole machine has, unless its flags say otherwise: give each a share (--cpu 2 \
            --memory 4G). With --class, start the workers with --no-detect, so that their class has no other labels.

            The pool is sized for the whole demand, regardless of workers outside the pool: with several pools, divide \
            the demand by --class, --queue or --max.

            SIGINT, SIGTERM or SIGHUP drains all workers and waits for their tasks; a second one makes them hand back \
            the tasks that still run; SIGQUIT (Ctrl-\\) kills the workers at once.
            """)

    @OptionGroup var options: RunOptions

    @Option(
        help: ArgumentHelp("The server (SWITCHYARD_SERVER; default http://127.0.0.1:8080).", valueName: "url"))
    var server: String?

    @Option(help: ArgumentHelp("The minimum number of workers.", valueName: "n"))
    var min = 0

    @Option(help: ArgumentHelp("The maximum number of workers, including those that drain.", valueName: "n"))
    var max: Int

    @Option(
        name: .customLong("class"),
        help: ArgumentHelp(
            "Only the demand for workers with these labels and this capacity, such as gpu,os=linux,+cpu=8.",
            valueName: "class"))
    var workerClass: String?

    @Option(help: ArgumentHelp("The slots of a worker of --class, used while none is registered.", valueName: "n"))
    var slots = 1

    @Option(
        help: ArgumentHelp("How often to ask the server for the demand.", valueName: "duration"),
        transform: Seconds.init(transforming:))
    var interval = Seconds(value: 2)

    @Option(
        help: ArgumentHelp("How long fewer workers must be wanted before some are drained.", valueName: "duration"),
        transform: Seconds.init(transforming:))
    var coolDown = Seconds(value: 30)

    @Argument(parsing: .postTerminator, help: "The command of a worker.")
    var command: [String] = []

    func validate() throws {
        // The guardian's table has room for 1024 children.
        guard (1...1000).contains(max) else { throw ValidationError("--max: expected 1 to 1000, found \(max)") }
        guard (0...max).contains(min) else { throw ValidationError("--min: expected 0 to \(max), found \(min)") }
        guard (1...1000).contains(slots) else { throw ValidationError("--slots: expected 1 to 1000, found \(slots)") }
        guard interval.value >= 0.1 else {
            throw ValidationError("--interval: expected 0.1 or more, found \(JSONValue(interval.value).text)")
        }
        if command.isEmpty { throw ValidationError("nothing to start: expected -- COMMAND") }
    }

    func run() async throws {
        let settings = try await options.start(server.map { [Setting.server.name: $0] } ?? [:])
        let logger = Logger(label: "switchyard.autoscale")
        Orphans.adopt(logger: logger)
        let pool = AutoscaledPool(
            range: min...max, coolDown: coolDown.duration,
            interval: interval.duration, command: command,
            demand: DemandSource(
                api: try APIClient(server: settings.text(.server)), queue: settings.text(.queue),
                workerClass: workerClass, slots: slots),
            logger: logger)
        var group = ServiceGroupConfiguration(
            services: [
                .init(
                    service: pool, successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .cancelGroup)
            ],
            cancellationSignals: [.sigquit], logger: logger)
        group.endOnSignals()
        try await ServiceGroup(configuration: group).run()
    }
}
