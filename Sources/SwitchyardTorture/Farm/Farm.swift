import ChildProcess
import Foundation
import Logging
import PrivateRedis
import RedisClient
import Switchyard

/// Redis, replicas and workers on this machine: real processes, each with a way of its own to Redis.
final class Farm: Sendable {
    let plan: TorturePlan
    /// The file in which each execution is noted.
    let journal: String
    let redis: PrivateRedisServer
    /// Past all proxies, for faults and for the final look.
    let client: RedisClient
    let processes: [FarmProcess]
    private let directory: String

    static let queue = "torture"
    private static let laterVersion = FunctionLibrary.version + 1000

    /// Starts everything.
    /// - Parameter program: the `switchyard` that replicas and workers run.
    static func start(_ plan: TorturePlan, program: String, logger: Logger) async throws -> Farm {
        let directory = NSTemporaryDirectory() + "switchyard-torture-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let journal = directory + "/executions"
        guard FileManager.default.createFile(atPath: journal, contents: nil) else {
            throw TortureError("\(journal) cannot be created")
        }
        // Every write is on disk before it is acknowledged: nothing acknowledged may be lost when Redis is killed.
        let redis = try await PrivateRedisServer.start(
            .init(ephemeral: false, appendfsync: .always, extraArguments: ["--auto-aof-rewrite-percentage", "0"]))
        var configuration = try RedisConfiguration(url: redis.url)
        configuration.commandTimeout = .seconds(30)
        let client = RedisClient(configuration, logger: logger)
        if let library = plan.library {
            // Of a version that no replica and no worker replaces.
            let text = library.replacingOccurrences(
                of: "local VERSION = \(FunctionLibrary.version)\n", with: "local VERSION = \(Self.laterVersion)\n")
            _ = try await client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(text)))
        } else {
            try await FunctionLibrary(client: client, logger: logger).ensureLoaded()
        }
        let handle = try SchedulerHandle(queue: Self.queue, client: client, logger: logger)
        _ = try await handle.configure(TorturePlan.settings)

        var processes: [FarmProcess] = []
        func add(_ role: FarmProcess.Role, _ name: String, _ arguments: [String]) async throws {
            let link = Link(seed: plan.seed &+ UInt64(processes.count))
            var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("SWITCHYARD_") }
            environment["SWITCHYARD_REDIS"] = try await link.open(to: redis.socketPath)
            let command = ChildProcess.Command(
                arguments: [program] + arguments + ["--queue", Self.queue, "--log-level", "warning"],
                environment: environment)
            processes.append(FarmProcess(name: name, role: role, link: link, command: command))
        }
        for index in 0..<plan.replicas {
            try await add(.replica, "replica-\(index)", ["serve", "--listen", "127.0.0.1:0"])
        }
        for index in 0..<plan.handlerWorkers {
            try await add(
                .handlerWorker, "handlers-\(index)", ["torture", "handlers", "--id", "handlers-\(index)", journal])
        }
        for index in 0..<plan.commandWorkers {
            try await add(
                .commandWorker, "commands-\(index)",
                [
                    "worker", "--id", "commands-\(index)", "--slots", "4", "--no-detect", "--label", "runs=commands",
                    "--cpu", "4", "--grace", "1s",
                ])
        }
        let farm = Farm(plan, journal, redis, client, processes, directory)
        for process in processes { try await process.start() }
        return farm
    }

    private init(
        _ plan: TorturePlan, _ journal: String, _ redis: PrivateRedisServer, _ client: RedisClient,
        _ processes: [FarmProcess], _ directory: String
    ) {
        self.plan = plan
        self.journal = journal
        self.redis = redis
        self.client = client
        self.processes = processes
        self.directory = directory
    }

    var workers: [FarmProcess] { processes.filter { $0.role != .replica } }
    var replicas: [FarmProcess] { processes.filter { $0.role == .replica } }

    /// Starts again what has ended, continues what is stopped, and clears every way.
    func heal() async throws {
        for process in processes {
            process.link.set(.init())
            process.link.resume()
            process.resume()
            try await process.start()
        }
    }

    /// Ends everything. The journal goes too.
    func stop() async {
        await withTaskGroup { group in
            for process in processes { group.addTask { await process.stop() } }
        }
        for process in processes { await process.link.close() }
        await client.shutdown()
        await redis.stop()
        // Among the temporary files nothing depends on it.
        try? FileManager.default.removeItem(atPath: directory)
    }
}
