import ArgumentParser
import Logging
import RedisClient
import Switchyard

struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check the server, Redis and the queue for problems, with advice.",
        discussion: """
            Checks the server, Redis, or both: those that flags, the environment or the settings file name; if they \
            name neither, the server at http://127.0.0.1:8080. It changes nothing. It exits with 1 if a check failed.
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var options: RunOptions
    @OptionGroup var redis: RedisOptions

    @Option(
        help: ArgumentHelp("The server (SWITCHYARD_SERVER; default http://127.0.0.1:8080).", valueName: "url"))
    var server: String?

    func run() async throws {
        let settings = try await options.start(redis.flags, server.map { [Setting.server.name: $0] } ?? [:])
        let queue = try Name.validate(settings.text(.queue), field: "queue")
        let instances = try settings.redisInstances()
        var findings: [Finding] = []
        // If only Redis is named, the server's default address would be a guess.
        if instances.isEmpty || settings.values[.server]?.origin != .byDefault {
            findings += try await ServerChecks(api: try APIClient(server: settings.text(.server)), queue: queue)
                .findings()
        }
        let logger = Logger(label: "switchyard.redis")
        let clients = instances.map { RedisClient($0, logger: logger) }
        let found: [Finding]
        do {
            found = try await Self.findings(clients, queue, settings, logger)
        } catch {
            for client in clients { await client.shutdown() }
            throw error
        }
        for client in clients { await client.shutdown() }
        // The server's checks and Redis's checks both report on the queue.
        findings += found.filter { !findings.contains($0) }
        try show(findings)
        if findings.contains(where: { $0.level == .fail }) { throw Failure(.error) }
    }

    /// The findings about each Redis server, and about the queue if all of them can be read.
    private static func findings(
        _ clients: [RedisClient], _ queue: String, _ settings: EffectiveSettings, _ logger: Logger
    ) async throws -> [Finding] {
        var findings: [Finding] = []
        var isReadable = !clients.isEmpty
        for (index, client) in clients.enumerated() {
            let found = try await RedisChecks(client: client, queue: queue).findings()
            isReadable = isReadable && found.isReadable
            findings += found.findings.map { finding in
                var finding = finding
                if clients.count > 1 { finding.subject += " \(index + 1)" }
                return finding
            }
        }
        guard isReadable else { return findings }
        do {
            return findings + (try await queueFindings(clients, queue, settings, logger))
        } catch let error as SchedulerError {
            return findings + [RedisChecks.unreadable(queue, error)]
        }
    }

    private static func queueFindings(
        _ clients: [RedisClient], _ queue: String, _ settings: EffectiveSettings, _ logger: Logger
    ) async throws -> [Finding] {
        var findings: [Finding] = []
        let partitions = try settings.partitions(on: clients)
        if let stored = try await partitions.storedCount(of: queue), stored != partitions.count {
            findings.append(
                .fail(
                    "partitions",
                    "\(queue) has \(stored), and this command was given \(partitions.count): it sees only "
                        + "a part of the queue", "--partitions \(stored), and every --redis of the queue, in order"))
        }
        if partitions.areInCluster { findings.append(try await ClusterReview.spread(of: queue, partitions)) }
        return findings
            + (try await QueueChecks.findings(SchedulerHandle(queue: queue, partitions: partitions, logger: logger)))
    }

    private func show(_ findings: [Finding]) throws {
        if output.isJSON { return try Console.out.json(JSONText.encode(["findings": findings])) }
        let width = findings.map(\.subject.count).max() ?? 0
        for finding in findings {
            try Console.out.write(finding.text(width: width, colour: Console.out.hasColour))
        }
    }
}
