import ArgumentParser
import Foundation
import Logging
import RedisClient
import ServiceLifecycle
import Switchyard
import SwitchyardWorker

struct RunWorker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker",
        abstract: "Pull tasks from a queue and run their commands.",
        discussion: """
            Runs each task's command (an argument vector, never through a shell), or the command given after --, in \
            which {target} and {args} are replaced by the task's. SIGTERM, SIGINT or SIGHUP drains the \
            worker: it pulls no more tasks and exits when its last task has ended. A second signal, or the end of \
            --drain-timeout, tells the tasks that still run to end, and hands them back to the queue. With --no-op it \
            completes every task without running anything, to measure the queue.

            Without --no-detect it also offers the cores and the memory that this machine, or its container, has, and \
            the labels os=, arch= and host=. What the flags say comes first.
            """)

    @OptionGroup var options: RunOptions
    @OptionGroup var redis: RedisOptions

    @Option(help: ArgumentHelp("The worker's id, which no other worker may have (default host-pid).", valueName: "id"))
    var id: String?

    @Option(help: ArgumentHelp("The number of tasks that it runs at once.", valueName: "n"))
    var slots = 1

    @Option(
        name: .customLong("label"),
        help: ArgumentHelp("A label that tasks can require: label or key=value; repeatable.", valueName: "k=v"))
    var labels: [String] = []

    @Option(
        help: ArgumentHelp(
            "Pull only tasks that require this label of the worker; repeatable.", valueName: "label"))
    var only: [String] = []

    @Option(help: ArgumentHelp("Cores that it offers.", valueName: "cores"))
    var cpu: Double?

    @Option(
        help: ArgumentHelp("Memory that it offers: 512M, 4G.", valueName: "size"),
        transform: Mebibytes.init(transforming:))
    var memory: Mebibytes?

    @Option(name: .customLong("memory-mb"), help: ArgumentHelp("Memory that it offers, in MiB.", valueName: "mib"))
    var memoryMB: Int?

    @Option(
        name: .customLong("resource"),
        help: ArgumentHelp("Another resource that it offers, such as gpu=2; repeatable.", valueName: "name=amount"))
    var resources: [Amount] = []

    @Flag(help: "Offer only what the flags say, not what this machine has.")
    var noDetect = false

    @Flag(help: "With several slots, prefer to pull tasks with the same --group-key together.")
    var preferGroups = false

    @Option(
        help: ArgumentHelp(
            "How long tasks may run on once the worker drains; then they are told to end, and go back to the queue "
                + "(default: until they end).", valueName: "duration"),
        transform: Seconds.init(transforming:))
    var drainTimeout: Seconds?

    @OptionGroup(title: "Commands") var commands: CommandOptions

    @Flag(
        name: .customLong("no-op"),
        help: "Complete every task at once, without a command or a log, to measure the queue.")
    var isNoOp = false

    @Argument(parsing: .postTerminator, help: "Run this for every task instead of the task's own command.")
    var command: [String] = []

    func validate() throws {
        if isNoOp, !command.isEmpty {
            throw ValidationError("--no-op runs nothing: expected it or a command after --, found both")
        }
        if let cpu, !(cpu > 0 && cpu.isFinite) { throw ValidationError("--cpu: expected more than 0, found \(cpu)") }
        if let memoryMB, memoryMB <= 0 { throw ValidationError("--memory-mb: expected more than 0, found \(memoryMB)") }
        if let memory, memory.value == 0 { throw ValidationError("--memory: expected more than 0, found 0") }
        if let memory, let memoryMB, memory.value != memoryMB {
            throw ValidationError("--memory and --memory-mb differ: expected one of them")
        }
        if let label = labels.first(where: { !Self.isLabel($0) }) {
            throw ValidationError("--label: expected label or key=value, found \"\(label)\"")
        }
        let names = labels.map { String($0.prefix { $0 != "=" }) } + (detects ? HostDetection.labelNames : [])
        if let label = only.first(where: { !names.contains($0) }) {
            throw ValidationError("--only: expected the name of a --label of this worker, found \"\(label)\"")
        }
        if let problem = Amount.problem(in: resources) { throw ValidationError(problem) }
    }

    func run() async throws {
        let settings = try await options.start(redis.flags)
        let logger = Logger(label: "switchyard.worker")
        let instances = try settings.redisInstances()
        if instances.isEmpty { throw Failure(.usage, "a worker needs Redis: --redis URL or SWITCHYARD_REDIS") }
        let clients = instances.map { RedisClient($0, logger: Logger(label: "switchyard.redis")) }
        let host = ProcessInfo.processInfo.hostName
        let processID = ProcessInfo.processInfo.processIdentifier
        var workerOptions = WorkerOptions(slots: slots)
        workerOptions.labels = labels
        workerOptions.only = only
        workerOptions.cpu = cpu
        workerOptions.memoryMB = memory?.value ?? memoryMB
        workerOptions.resources.custom = Dictionary(uniqueKeysWithValues: resources.map { ($0.name, $0.value) })
        workerOptions.takesGroupsTogether = preferGroups
        workerOptions.drainTimeout = drainTimeout?.duration
        if detects { HostDetection.current().complete(&workerOptions) }
        workerOptions.host = host
        workerOptions.processID = Int(processID)

        let id = id ?? Self.defaultID(host: host, processID: processID)
        let running = isNoOp ? nil : try commands.handler(template: command)
        let handler: any TaskHandler = running ?? NoOpHandler()
        Orphans.adopt(logger: logger)
        let worker = try Worker(
            id: id, queue: settings.text(.queue),
            partitions: try settings.partitions(on: clients), options: workerOptions, handler: handler, logger: logger)
        // Beside the first tasks, because it may take minutes.
        Task { await running?.removeAbandonedDirectories(workerID: id, logger: logger) }
        // A worker that was drained through the scheduler has ended successfully.
        var group = ServiceGroupConfiguration(
            services: [
                .init(
                    service: worker, successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .cancelGroup)
            ],
            logger: logger)
        group.endOnSignals()
        let result: Result<Void, any Error>
        do {
            let group = ServiceGroup(configuration: group)
            result = .success(
                try await Interruption.noticingRepetition({ worker.handBack() }) { try await group.run() })
        } catch {
            result = .failure(error)
        }
        for client in clients { await client.shutdown() }
        try result.get()
    }

    /// A worker that runs nothing needs nothing of the machine, and takes plain tasks at the least cost.
    private var detects: Bool { !noDetect && !isNoOp }

    /// Whether the text is `label` or `key=value`, where each part is a valid ``Name``. If Redis refused a label, the
    /// worker would retry its registration forever.
    static func isLabel(_ label: String) -> Bool {
        let parts = label.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        return parts.allSatisfy { (try? Name.validate(String($0), field: "label")) != nil }
    }

    /// The id `host-pid`. Characters of the host's name that an id must not have become "-".
    static func defaultID(host: String, processID: Int32) -> String {
        let safe = host.map { $0.isASCII && ($0.isLetter || $0.isNumber || "._:-".contains($0)) ? $0 : "-" }
        return "\(safe.isEmpty ? "worker" : String(safe.prefix(180)))-\(processID)"
    }
}
