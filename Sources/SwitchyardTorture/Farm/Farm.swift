import Foundation
import Logging
import Switchyard

/// Redis, replicas and workers on this machine: real processes, each with a way of its own to Redis.
final class Farm: Sendable {
    let plan: TorturePlan
    /// The faults that can be made here.
    let faults: [FaultKind]
    /// Why others cannot.
    let excuses: [String]
    /// The file in which each execution is noted.
    let journal: String
    let redis: FarmRedis
    let processes: [FarmProcess]
    let program: String
    /// The program of the version before; nil: no fault needs it.
    let olderProgram: String?
    private let directory: String

    static let queue = "torture"

    /// Starts everything.
    /// - Parameter program: the `switchyard` that replicas and workers run.
    static func start(_ plan: TorturePlan, program: String, logger: Logger) async throws -> Farm {
        let directory = NSTemporaryDirectory() + "switchyard-torture-\(UUID().uuidString.prefix(8))"
        let data = directory + "/redis"
        try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
        let journal = directory + "/executions"
        guard FileManager.default.createFile(atPath: journal, contents: nil) else {
            throw TortureError("\(journal) cannot be created")
        }
        var faults = plan.faults
        var excuses: [String] = []
        // Faults of the clock, and the upgrade, need a library that nobody replaces.
        let needsLibrary = !Set(faults).isDisjoint(with: [.clockForward, .clockBack, .rollingUpgrade, .allAtOnce])
        let library = plan.library ?? (needsLibrary ? FunctionLibrary.source : nil)
        func startRedis(hasDisk: Bool) async throws -> FarmRedis {
            try await .start(plan.redis, in: data, library: library, hasDisk: hasDisk, logger: logger)
        }
        let redis: FarmRedis
        do {
            redis = try await startRedis(hasDisk: faults.contains(.diskFull))
        } catch let error as TortureError {
            excuses.append("disk-full is left out: \(error)")
            faults.removeAll { $0 == .diskFull }
            guard !faults.isEmpty || plan.faults.isEmpty else { throw error }
            redis = try await startRedis(hasDisk: false)
        }
        var network: NetworkNamespace?
        if !Set(faults).isDisjoint(with: [.cutRequests, .cutReplies, .packetLoss]) {
            do {
                network = try await NetworkNamespace.make()
            } catch {
                excuses.append("cut-requests, cut-replies and packet-loss happen in the proxy: \(error)")
            }
        }
        do {
            let handle = try SchedulerHandle(queue: Self.queue, client: redis.client, logger: logger)
            _ = try await handle.configure(TorturePlan.settings)
            let processes = try await makeProcesses(plan, program, journal, redis, network)
            var older: String?
            if faults.contains(.rollingUpgrade) {
                let path = directory + "/switchyard-older"
                try OlderProgram.make(of: program, at: path)
                older = path
            }
            let farm = Farm(plan, faults, excuses, journal, redis, processes, program, older, directory)
            for process in processes { try await process.start() }
            return farm
        } catch {
            await network?.remove()
            await redis.stop()
            throw error
        }
    }

    private static func makeProcesses(
        _ plan: TorturePlan, _ program: String, _ journal: String, _ redis: FarmRedis, _ network: NetworkNamespace?
    ) async throws -> [FarmProcess] {
        var processes: [FarmProcess] = []
        func add(
            _ role: FarmProcess.Role, _ name: String, _ arguments: [String], in network: NetworkNamespace? = nil
        ) async throws {
            let link = Link(seed: plan.seed &+ UInt64(processes.count))
            var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("SWITCHYARD_") }
            environment["SWITCHYARD_REDIS"] = try await redis.open(link, on: network?.address)
            processes.append(
                FarmProcess(
                    name: name, role: role, link: link, network: network, program: program,
                    arguments: arguments + ["--queue", Self.queue, "--log-level", "warning"],
                    environment: environment))
        }
        for index in 0..<plan.replicas {
            // With the settings, so that they are there again after the data was lost.
            try await add(
                .replica, "replica-\(index)", ["serve", "--listen", "127.0.0.1:0"] + TorturePlan.settingFlags)
        }
        for index in 0..<plan.handlerWorkers {
            let isFar = index == plan.handlerWorkers - 1
            try await add(
                .handlerWorker, "handlers-\(index)", ["torture", "handlers", "--id", "handlers-\(index)", journal],
                in: isFar ? network : nil)
        }
        for index in 0..<plan.commandWorkers {
            try await add(
                .commandWorker, "commands-\(index)",
                [
                    "worker", "--id", "commands-\(index)", "--slots", "4", "--no-detect", "--label", "runs=commands",
                    "--cpu", "\(TorturePlan.cores)", "--grace", "1s",
                ])
        }
        return processes
    }

    private init(
        _ plan: TorturePlan, _ faults: [FaultKind], _ excuses: [String], _ journal: String, _ redis: FarmRedis,
        _ processes: [FarmProcess], _ program: String, _ olderProgram: String?, _ directory: String
    ) {
        self.plan = plan
        self.faults = faults
        self.excuses = excuses
        self.journal = journal
        self.redis = redis
        self.processes = processes
        self.program = program
        self.olderProgram = olderProgram
        self.directory = directory
    }

    var workers: [FarmProcess] { processes.filter { $0.role != .replica } }
    var replicas: [FarmProcess] { processes.filter { $0.role == .replica } }
    /// The worker with a network of its own, or, if there is none, the one that the proxy cuts off.
    var farWorker: FarmProcess? { workers.first { $0.network != nil } ?? workers.first }

    /// Starts again what has ended, continues what is stopped, and clears every way.
    func heal() async throws {
        for process in processes {
            process.link.set(.init())
            process.link.resume()
            try await process.network?.mend()
            process.resume()
            try await process.start()
        }
    }

    /// Ends everything. The journal goes too.
    func stop() async {
        await withTaskGroup { group in
            for process in processes { group.addTask { await process.stop() } }
        }
        for process in processes {
            await process.link.close()
            await process.network?.remove()
        }
        await redis.stop()
        // Among the temporary files nothing depends on it.
        try? FileManager.default.removeItem(atPath: directory)
    }
}
