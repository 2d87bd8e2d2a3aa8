import ChildProcess
import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// A farm of real processes whose Redis servers are copied and restored.
struct BackupScene {
    /// What is copied.
    enum Source: Sendable {
        /// `dump.rdb`, after BGSAVE.
        case snapshot
        /// The append-only directory while the server runs.
        case runningFile
        /// The append-only directory of a server that was stopped for it.
        case stoppedFile
    }

    /// The directory of everything; short, because it is in the paths of sockets.
    let directory: URL
    let queue: String
    /// In place of a server, its restored copy.
    private(set) var servers: [TestRedis] = []
    private(set) var handle: SchedulerHandle
    private var processes: [Running] = []

    /// - Parameters:
    ///   - count: the number of Redis servers, and of partitions.
    ///   - lease: in seconds. A worker that does not get to run for so long on a busy machine loses its attempts.
    init(servers count: Int, lease: Int) async throws {
        queue = "q-" + QueuedTask.randomID().prefix(8)
        directory = URL(fileURLWithPath: "/tmp/switchyard-backup-\(queue)")
        try FileManager.default.createDirectory(
            at: directory.appending(path: "gates"), withIntermediateDirectories: true)
        for index in 0..<count {
            servers.append(try await TestRedis.start(.everySecond, directory: directory.path + "/server-\(index)"))
        }
        handle = try await Self.handle(queue, servers)
        try await handle.configure([("lease_ms", lease * 1000), ("heartbeat_ms", 300), ("retry_delay_ms", 0)])
    }

    /// Returns a handle of a queue, whose number of partitions is then the number of servers.
    static func handle(_ queue: String, _ servers: [TestRedis]) async throws -> SchedulerHandle {
        let partitions = try Partitions(on: servers.map(\.client))
        for functions in partitions.functions(queue: queue, logger: TestRedis.quiet) {
            try await partitions.join(functions)
        }
        return try SchedulerHandle(queue: queue, partitions: partitions, logger: TestRedis.quiet)
    }

    mutating func end() async throws {
        try await killAll()
        for server in servers { await server.stop() }
        // In the directory of temporary files nothing depends on it.
        try? FileManager.default.removeItem(at: directory)
    }

    // MARK: Processes

    private var redis: [String] { servers.flatMap { ["--redis", $0.url] } }

    /// Starts a replica, and returns it with the port of its HTTP interface.
    mutating func startReplica() async throws -> (process: Running, port: Int) {
        let replica = try await Tool.start(["serve", "--queue", queue, "--listen", "127.0.0.1:0"] + redis)
        processes.append(replica)
        let port = try await Tool.eventually("serve prints its URL: \(replica.stderr)") {
            (replica.stdout + replica.stderr).firstMatch(of: #/127\.0\.0\.1:(\d+)/#).flatMap { Int($0.1) }
        }
        return (replica, port)
    }

    @discardableResult
    mutating func startWorker(
        _ id: String, slots: Int = 4, label: String? = nil, queue: String? = nil
    ) async throws -> Running {
        let labels = label.map { ["--label", $0] } ?? []
        let worker = try await Tool.start(
            ["worker", "--queue", queue ?? self.queue, "--id", id, "--slots", "\(slots)", "--no-detect"] + redis
                + labels)
        processes.append(worker)
        return worker
    }

    mutating func killAll() async throws {
        for process in processes { process.process.signalGroup(SIGKILL) }
        for process in processes { _ = try await process.end() }
        processes = []
    }

    /// What the processes have logged, the latest last.
    var logs: String { processes.map { String($0.stderr.suffix(2000)) }.joined(separator: "\n---\n") }

    // MARK: Copies

    /// Copies the data of server `index`, as the page tells.
    func copy(_ index: Int, _ source: Source) async throws {
        let from = directory.appending(path: "server-\(index)")
        let to = directory.appending(path: "copy-\(index)")
        try FileManager.default.createDirectory(at: to, withIntermediateDirectories: true)
        let server = servers[index]
        switch source {
        case .snapshot:
            _ = try await server.client.send(RedisCommand("BGSAVE"))
            try await waitFor("rdb_bgsave_in_progress:0", of: server)
            let folder = to.appending(path: "appendonlydir")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try FileManager.default.copyItem(
                at: from.appending(path: "dump.rdb"), to: folder.appending(path: "appendonly.aof.1.base.rdb"))
            try "file appendonly.aof.1.base.rdb seq 1 type b\n".write(
                to: folder.appending(path: "appendonly.aof.manifest"), atomically: true, encoding: .utf8)
        case .runningFile:
            let setting = RedisArgument("auto-aof-rewrite-percentage")
            _ = try await server.client.send(RedisCommand("CONFIG", "SET", setting, "0"))
            try await waitFor("aof_rewrite_in_progress:0", of: server)
            try copyFile(from, to)
            _ = try await server.client.send(RedisCommand("CONFIG", "SET", setting, "100"))
        case .stoppedFile:
            await server.kill()
            try copyFile(from, to)
            try await server.restart()
        }
    }

    private func copyFile(_ from: URL, _ to: URL) throws {
        try FileManager.default.copyItem(
            at: from.appending(path: "appendonlydir"), to: to.appending(path: "appendonlydir"))
    }

    private func waitFor(_ line: String, of server: TestRedis) async throws {
        _ = try await Tool.eventually(line) {
            let info = try await server.client.send(RedisCommand("INFO", "persistence")).string ?? ""
            return info.contains(line) ? true : nil
        }
    }

    /// Starts a new server with the copy of server `index`; the former one stays as it is.
    mutating func restoreElsewhere(_ index: Int) async throws {
        let place = directory.appending(path: "restored-\(index)")
        try FileManager.default.moveItem(at: directory.appending(path: "copy-\(index)"), to: place)
        // The mark of a directory of the private redis-server.
        try FileManager.default.copyItem(
            at: directory.appending(path: "server-\(index)/redis.conf"), to: place.appending(path: "redis.conf"))
        await servers[index].stop()
        servers[index] = try await TestRedis.start(.everySecond, directory: place.path)
        handle = try await Self.handle(queue, servers)
    }

    /// Replaces the data of server `index` with its copy, while clients wait for it.
    func restoreInPlace(_ index: Int) async throws {
        await servers[index].kill()
        let data = directory.appending(path: "server-\(index)/appendonlydir")
        try FileManager.default.removeItem(at: data)
        try FileManager.default.moveItem(at: directory.appending(path: "copy-\(index)/appendonlydir"), to: data)
        try await servers[index].restart()
    }

    // MARK: Tasks

    /// A task that notes its begin, waits until its gate is open, and notes its end.
    func task(_ id: String, needsGate: Bool = false) -> QueuedTask {
        var request = BuildRequest()
        let wait = needsGate ? "while [ ! -e gates/\(id) ]; do sleep 0.02; done; " : ""
        request.command = [
            "sh", "-c",
            "cd \(directory.path); n=\"$SWITCHYARD_TASK_ID $SWITCHYARD_ATTEMPT\"; echo begin $n >> log; \(wait)"
                + "echo end $n >> log",
        ]
        var task = QueuedTask(request, id: id)
        task.maxRetries = 3
        return task
    }

    func open(_ id: String) throws {
        try "".write(to: directory.appending(path: "gates/\(id)"), atomically: true, encoding: .utf8)
    }

    /// What tasks have noted (`begin` or `end`), as the numbers of their attempts.
    func noted(_ what: String, _ id: String) -> [Int] {
        // No task has noted anything yet.
        let text = (try? String(contentsOf: directory.appending(path: "log"), encoding: .utf8)) ?? ""
        return text.split(separator: "\n").compactMap { (line: Substring) -> Int? in
            let words = line.split(separator: " ")
            return words.count == 3 && words[0] == what && words[1] == id ? Int(words[2]) : nil
        }
    }

    func waitForBegin(_ id: String) async throws {
        _ = try await Tool.eventually("the begin of \(id)") { noted("begin", id).isEmpty ? nil : true }
    }

    /// Waits until replicas have called `count` more ticks.
    func waitForTicks(_ count: Int) async throws {
        func ticks(_ index: Int) async throws -> Int {
            let keys = Keys(queue: queue, partition: index)
            let reply = try await servers[index].client.send(RedisCommand("HGET", .string(keys.config), "ticks"))
            return reply.string.flatMap { Int($0) } ?? 0
        }
        for index in servers.indices {
            let before = try await ticks(index)
            _ = try await Tool.eventually("ticks") { try await ticks(index) >= before + count ? true : nil }
        }
    }

    @discardableResult
    func waitForEnd(_ id: String) async throws -> QueuedTask {
        try await handle.waitForTask(id, timeout: .seconds(40)) { $0.state.isTerminal }
    }

    /// The process ids of the task's shells that run now.
    func processes(of id: String) throws -> [Int32] {
        let all = try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }
        return all.filter { (process: Int32) -> Bool in
            // It may have ended since.
            let text = (try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8)) ?? ""
            return text.hasPrefix("sh\0-c\0cd \(directory.path);") && text.contains("gates/\(id) ]")
        }
    }

    /// Checks all keys of every partition.
    func checkKeys() async throws {
        for index in servers.indices {
            let name = index == 0 ? queue : "\(queue)/\(index)"
            try await TestQueue(name, handle: handle, on: servers[index]).snapshot()
        }
    }
}
