import ChildProcess
import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// Redis's password is in no argument, no output, no log and no task's environment.
@Suite(.serialized) struct SecretsTests {
    private static let secret = "s3cr3t/pa?ss@w:rd%&"
    private static let encoded = "s3cr3t%2Fpa%3Fss%40w%3Ard%25%26"

    /// Runs `body` with a redis-server that demands the password, and a directory.
    private func withRedis(_ body: (_ socket: String, _ directory: String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try await TestRedis.run { redis in
            _ = try await redis.client.send(RedisCommand("CONFIG", "SET", "requirepass", .string(Self.secret)))
            try await body(redis.url, directory)
        }
    }

    /// Whether the text has the password in any of its forms, or a long piece of it.
    private func shows(_ text: String) -> Bool {
        [Self.secret, Self.encoded, "s3cr3t", "ss@w", "w:rd"].contains { text.contains($0) }
    }

    private func read(_ path: String) -> String? {
        (try? Data(contentsOf: URL(filePath: path))).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The arguments of all processes below one.
    private func argumentsBelow(_ root: Int32) throws -> [Int32: String] {
        var parents: [Int32: Int32] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
            // A process may have ended since.
            guard let processID = Int32(name), let stat = read("/proc/\(name)/stat"),
                let fields = stat.split(separator: ")").last?.split(separator: " "), fields.count > 1
            else { continue }
            parents[processID] = Int32(fields[1])
        }
        func isBelow(_ processID: Int32) -> Bool {
            processID == root || (parents[processID].map { $0 != processID && $0 > 1 && isBelow($0) } ?? false)
        }
        return parents.keys.filter(isBelow).reduce(into: [:]) { $0[$1] = read("/proc/\($1)/cmdline") ?? "" }
    }

    fileprivate enum Way: String, CaseIterable { case url, variable, file }

    private func environment(_ way: Way, _ url: String, _ directory: String) throws -> [String: String] {
        switch way {
        case .url: return ["SWITCHYARD_REDIS": "\(url)?password=\(Self.encoded)"]
        case .variable: return ["SWITCHYARD_REDIS": url, "SWITCHYARD_REDIS_PASSWORD": Self.secret]
        case .file:
            try Data("\(Self.secret)\n".utf8).write(to: URL(filePath: directory + "/password"))
            return ["SWITCHYARD_REDIS": url, "SWITCHYARD_REDIS_PASSWORD_FILE": directory + "/password"]
        }
    }

    @Test(arguments: Way.allCases) fileprivate func devAndItsWorkersShowNoPassword(way: Way) async throws {
        try await withRedis { url, directory in
            let dev = try await Tool.start(
                ["dev", "--listen", "127.0.0.1:0", "--workers", "2", "--log-level", "trace"],
                environment: try environment(way, url, directory))
            let server = try await Tool.eventually("dev prints its URL: \(dev.stderr)") {
                dev.stdout.firstMatch(of: #/running: (http://\S+:\d+)\n/#).map { String($0.1) }
            }
            let task = try await Tool.run(["submit", "--wait", "--", "env"], server: server)
            #expect(task.exitCode == 0, "the workers can log in: \(task.stderr)")
            let log = try await Tool.run(["logs", task.line], server: server).stdout
            #expect(log.contains("SWITCHYARD_TASK_ID="))
            #expect(!log.contains("SWITCHYARD_REDIS") && !shows(log), "\(log)")
            let arguments = try argumentsBelow(dev.process.processID)
            #expect(arguments.values.filter { $0.contains("--id\0dev-") }.count == 2, "\(arguments)")
            for text in arguments.values { #expect(!shows(text) && !text.contains("--redis"), "\(text)") }
            dev.process.signalGroup(SIGINT)
            let end = try await dev.end()
            #expect(end.exitCode == 0)
            #expect(!shows(end.stdout) && !shows(end.stderr), "\(end.stdout)\(end.stderr)")
            #expect(end.stdout.contains("--askpass"), "\(end.stdout)")
        }
    }

    @Test(arguments: Way.allCases) fileprivate func autoscaledWorkersHaveItInTheEnvironment(way: Way) async throws {
        try await withRedis { url, directory in
            let pool = try await Tool.start(
                [
                    "autoscale", "--min", "1", "--max", "1", "--log-level", "trace", "--", Tool.path, "worker", "--id",
                    "auto-{n}",
                ],
                server: "http://127.0.0.1:1", environment: try environment(way, url, directory))
            _ = try await Tool.eventually("the worker can log in: \(pool.stderr)") {
                pool.stderr.contains("worker registered") ? true : nil
            }
            for text in try argumentsBelow(pool.process.processID).values { #expect(!shows(text), "\(text)") }
            pool.process.signalGroup(SIGINT)
            let end = try await pool.end()
            #expect(end.exitCode == 0)
            #expect(!shows(end.stderr), "\(end.stderr)")
        }
    }

    @Test(arguments: Way.allCases) fileprivate func configAndDoctorShowNoPassword(way: Way) async throws {
        try await withRedis { url, directory in
            for arguments in [["config"], ["config", "-o", "json"], ["doctor"]] {
                let output = try await Tool.run(
                    arguments, server: "http://u:\(Self.secret)@127.0.0.1:1",
                    environment: try environment(way, url, directory))
                #expect(!shows(output.stdout + output.stderr), "\(output.stdout)\(output.stderr)")
                if arguments[0] == "config" { #expect(output.stdout.contains("***"), "\(output.stdout)") }
            }
        }
    }

    /// A login in the server's URL, which no message shows.
    @Test(arguments: ["http://u:s3cr3t@127.0.0.1:1", "http://u:s3cr3t/x@127.0.0.1:1", "u:s3cr3t@h", "ftp://u:s3cr3t@h"])
    func messagesShowNoLoginOfTheServer(server: String) async throws {
        for arguments in [["stats"], ["get", "t"], ["doctor"], ["autoscale", "--max", "1", "--", "true"]] {
            // autoscale goes on without a server, unless the URL is no URL.
            if arguments[0] == "autoscale", server.hasPrefix("http") { continue }
            let output = try await Tool.run(arguments, server: server)
            #expect(output.exitCode != 0)
            #expect(!shows(output.stdout + output.stderr), "\(output.stdout)\(output.stderr)")
        }
    }

    /// A password that was not percent-encoded ends the login too early; what is left is no port and no option.
    @Test(arguments: [
        "redis://:s3cr3t/x@h:6379", "redis://u:s3cr3t/x@h", "redis://u:s3cr3t?x@h", "redis://u:1/s3cr3t@h",
        "redis://:a@h?s3cr3t@h", "rediss://u:s3cr3t/?@h:1/2", "redis://:%s3cr3t@h", "redis://u:s3cr3t",
        "unix:///s?password=a&s3cr3t", "unix://u:s3cr3t@/s", "redis://:a/s3cr3t@h,redis://b",
    ])
    func anErrorInTheURLShowsNoPassword(url: String) async throws {
        // All commands read it in one place.
        let others = [["serve", "--listen", "127.0.0.1:0"], ["config"], ["doctor"]]
        for arguments in [["worker"]] + (url.hasPrefix("rediss") ? others : []) {
            let output = try await Tool.run(arguments, environment: ["SWITCHYARD_REDIS": url])
            #expect(output.exitCode == 64, "\(output.stderr)")
            #expect(!shows(output.stdout + output.stderr), "\(output.stdout)\(output.stderr)")
            guard url.contains("@"), !url.hasPrefix("unix"), !url.contains("%") else { continue }
            #expect(output.stderr.contains("%2F") && output.stderr.contains("%40"), "\(output.stderr)")
            #expect(output.stderr.contains("SWITCHYARD_REDIS_PASSWORD"), "\(output.stderr)")
        }
    }

    @Test func noNameMakesATaskInheritTheLogin() async throws {
        for name in ["SWITCHYARD_REDIS", "SWITCHYARD_REDIS_PASSWORD", "SWITCHYARD_REDIS_PASSWORD_FILE"] {
            let output = try await Tool.run(["worker", "--redis", "unix:///nowhere", "--pass-env", name])
            #expect(output.exitCode == 64)
            #expect(output.stderr.contains("\(name) is the worker's login to Redis"), "\(output.stderr)")
        }
        try await withRedis { url, directory in
            let environment = try environment(.variable, url, directory).merging(["SWITCHYARD_MINE": "1"]) { $1 }
            let worker = try await Tool.start(
                ["worker", "--id", "w", "--pass-env", "SWITCHYARD_*", "*"], environment: environment)
            let client = RedisClient(try RedisConfiguration(url: url, password: Self.secret))
            let queue = try SchedulerHandle(queue: "default", client: client, logger: TestRedis.quiet)
            var request = BuildRequest()
            request.command = ["sh", "-c", "env > \(directory)/env"]
            _ = try await queue.addTask(QueuedTask(request, id: "t"))
            _ = try await queue.waitForTask("t", timeout: .seconds(40)) { $0.state == .completed }
            let text = read(directory + "/env") ?? ""
            #expect(text.contains("SWITCHYARD_MINE=1"))
            #expect(!text.contains("SWITCHYARD_REDIS") && !shows(text), "\(text)")
            await client.shutdown()
            worker.process.signalGroup(SIGTERM)
            #expect(try await worker.end().exitCode == 0)
        }
    }
}
