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
        abstract: "Take tasks from a queue and run their commands.",
        discussion: """
            Runs each task's command (an argument vector, never through a shell), or the command given after --, in \
            which {target} and {args} stand for the task's. SIGTERM or SIGINT drains it: it takes no more tasks and \
            leaves when the last one has ended. With --no-op it completes every task without running anything, which \
            shows what the queue can give.
            """)

    @OptionGroup var options: RunOptions
    @OptionGroup var redis: RedisOptions

    @Option(help: ArgumentHelp("The worker's id, its own (default host-pid).", valueName: "id"))
    var id: String?

    @Option(help: ArgumentHelp("How many tasks it runs at once.", valueName: "n"))
    var slots = 1

    @Option(
        name: .customLong("label"),
        help: ArgumentHelp("What it is or has, for tasks that require it: label or key=value.", valueName: "k=v"))
    var labels: [String] = []

    @Option(
        help: ArgumentHelp(
            "Take only tasks that require this label of the worker; repeatable.", valueName: "label"))
    var only: [String] = []

    @Option(help: ArgumentHelp("Cores that it offers.", valueName: "cores"))
    var cpu: Double?

    @Option(name: .customLong("memory-mb"), help: ArgumentHelp("Memory that it offers, in MiB.", valueName: "mib"))
    var memoryMB: Int?

    @Option(
        name: .customLong("resource"),
        help: ArgumentHelp("What else it offers, such as gpu=2; repeatable.", valueName: "name=amount"))
    var resources: [Amount] = []

    @Flag(help: "With several slots, by preference take tasks of one --group-key together.")
    var preferGroups = false

    @Flag(
        name: .customLong("no-op"),
        help: "Complete every task at once, in this process: no command, no log. For measuring.")
    var isNoOp = false

    @Argument(parsing: .postTerminator, help: "Run this for every task instead of the task's own command.")
    var command: [String] = []

    func validate() throws {
        if isNoOp, !command.isEmpty {
            throw ValidationError("--no-op runs nothing: expected it or a command after --, found both")
        }
        if let cpu, !(cpu > 0 && cpu.isFinite) { throw ValidationError("--cpu: expected more than 0, found \(cpu)") }
        if let memoryMB, memoryMB <= 0 { throw ValidationError("--memory-mb: expected more than 0, found \(memoryMB)") }
        if let label = labels.first(where: { !Self.isLabel($0) }) {
            throw ValidationError("--label: expected label or key=value, found \"\(label)\"")
        }
        if let label = only.first(where: { only in !labels.contains { $0.prefix { $0 != "=" } == only } }) {
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
        workerOptions.memoryMB = memoryMB
        workerOptions.resources.custom = Dictionary(uniqueKeysWithValues: resources.map { ($0.name, $0.value) })
        workerOptions.takesGroupsTogether = preferGroups
        workerOptions.host = host
        workerOptions.processID = Int(processID)

        let handler: any TaskHandler = isNoOp ? NoOpHandler() : CommandHandler(template: command)
        let worker = try Worker(
            id: id ?? Self.defaultID(host: host, processID: processID), queue: settings.text(.queue),
            partitions: try settings.partitions(on: clients), options: workerOptions, handler: handler, logger: logger)
        // A worker that drained by the scheduler's order has ended well.
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(
                        service: worker, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .cancelGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        let result: Result<Void, any Error>
        do {
            result = .success(try await group.run())
        } catch {
            result = .failure(error)
        }
        for client in clients { await client.shutdown() }
        try result.get()
    }

    /// `label` or `key=value`, each a ``Name``: a label that Redis refuses would keep a worker registering for ever.
    static func isLabel(_ label: String) -> Bool {
        let parts = label.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        return parts.allSatisfy { (try? Name.validate(String($0), field: "label")) != nil }
    }

    /// A host's name may hold what an id may not.
    static func defaultID(host: String, processID: Int32) -> String {
        let safe = host.map { $0.isASCII && ($0.isLetter || $0.isNumber || "._:-".contains($0)) ? $0 : "-" }
        return "\(safe.isEmpty ? "worker" : String(safe.prefix(180)))-\(processID)"
    }
}
