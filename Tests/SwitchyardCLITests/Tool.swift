import ChildProcess
import Foundation
import JSON
import Synchronization
import Testing

@testable import SwitchyardCLI

/// The built `switchyard`, which is in the same directory as the test bundle.
enum Tool {
    static let path = URL(fileURLWithPath: ProgramPath.current).deletingLastPathComponent()
        .appendingPathComponent("switchyard").path

    /// Longer than any of these tests takes on a busy machine.
    static let deadline: Duration = .seconds(60)

    struct Output: Sendable {
        /// Nil if a signal ended the process.
        var exitCode: Int32?
        var stdout: String
        var stderr: String

        /// The output on stdout, without white space around it.
        var line: String { stdout.trimmingCharacters(in: .whitespacesAndNewlines) }
        func json() throws -> JSONValue { try JSONReader.read(Array(stdout.utf8)) }
    }

    /// Runs the command to its end.
    /// - Parameter server: The value of SWITCHYARD_SERVER.
    static func run(
        _ arguments: [String], server: String? = nil, input: String? = nil, environment: [String: String] = [:]
    ) async throws -> Output {
        let run = try await start(arguments, server: server, input: input, environment: environment)
        return try await run.end()
    }

    /// - Parameter limits: what `ulimit` is given before the command starts, such as `-n 256`.
    static func start(
        _ arguments: [String], server: String? = nil, input: String? = nil, environment: [String: String] = [:],
        limits: [String] = []
    ) async throws -> Running {
        var variables = ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "HOME": "/tmp"]
        variables["SWITCHYARD_SERVER"] = server
        variables.merge(environment) { _, new in new }
        let shell = limits.map { "ulimit \($0) && " }.joined() + "exec \"$0\" \"$@\""
        return Running(
            try await ChildProcess.start(
                .init(
                    arguments: (limits.isEmpty ? [] : ["/bin/sh", "-c", shell]) + [path] + arguments,
                    environment: variables,
                    standardInput: input.map { .bytes(Array($0.utf8)) } ?? .null)))
    }

    /// Runs a line of shell, in which `$0` is the command.
    static func shell(_ line: String) async throws -> Output {
        let running = Running(
            try await ChildProcess.start(
                .init(
                    arguments: ["/bin/sh", "-c", line, path], environment: ["PATH": "/usr/bin:/bin", "HOME": "/tmp"])))
        return try await running.end()
    }

    /// Repeats `body` until it returns a value.
    static func eventually<Value>(
        _ what: @autoclosure () -> String, within limit: Duration = deadline, _ body: () async throws -> Value?
    ) async throws -> Value {
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end {
            if let value = try await body() { return value }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw Failure(.error, "within \(limit): \(what())")
    }

    static func isAlive(_ processID: Int32) -> Bool {
        // A zombie has ended; only its parent has not reaped it.
        guard let status = try? String(contentsOfFile: "/proc/\(processID)/stat", encoding: .utf8) else { return false }
        return !status.contains(") Z ")
    }
}

/// A running `switchyard` process.
final class Running: Sendable {
    let process: ChildProcess
    private let output = Mutex<[ChildProcess.OutputStream: [UInt8]]>([:])
    private let reading = Mutex<Task<Void, Never>?>(nil)

    init(_ process: ChildProcess) {
        self.process = process
        let stream = process.output
        let task = Task { [weak self] in
            for await chunk in stream {
                self?.output.withLock { $0[chunk.stream, default: []] += chunk.bytes }
            }
        }
        reading.withLock { $0 = task }
    }

    var stdout: String { text(.stdout) }
    var stderr: String { text(.stderr) }

    private func text(_ stream: ChildProcess.OutputStream) -> String {
        output.withLock { String(decoding: $0[stream] ?? [], as: UTF8.self) }
    }

    /// Returns its output and exit code once it has ended.
    func end(within limit: Duration = Tool.deadline) async throws -> Tool.Output {
        let status = try await Tool.eventually("the end of process \(process.processID): \(stderr)", within: limit) {
            process.exitStatus
        }
        await reading.withLock { $0 }?.value
        return Tool.Output(exitCode: status.exitCode, stdout: stdout, stderr: stderr)
    }
}

/// `switchyard dev` on a free port.
struct DevServer: Sendable {
    let running: Running
    let url: String

    static func start(
        _ arguments: [String] = ["--ephemeral"], listen: String = "127.0.0.1:0", limits: [String] = []
    ) async throws -> DevServer {
        let running = try await Tool.start(["dev", "--listen", listen] + arguments, limits: limits)
        let url = try await Tool.eventually("dev prints its URL: \(running.stderr)") { () -> String? in
            if let status = running.process.exitStatus {
                throw Failure(.error, "dev ended with \(status): \(running.stderr)")
            }
            return running.stdout.firstMatch(of: #/running: (http://\S+:\d+)\n/#).map { String($0.1) }
        }
        return DevServer(running: running, url: url)
    }

    func run(_ arguments: [String], input: String? = nil) async throws -> Tool.Output {
        try await Tool.run(arguments, server: url, input: input)
    }

    /// The process ids of the registered workers, by worker id.
    func workers() async throws -> [String: Int32] {
        let workers = try await run(["workers", "-o", "json"]).json()["workers"]?.array ?? []
        return Dictionary(
            workers.compactMap { worker in
                guard let id = worker["worker_id"]?.plainText, let pid = worker["pid"]?.int else { return nil }
                return (id, Int32(pid))
            }, uniquingKeysWith: { _, new in new })
    }

    /// Sends SIGINT, as Ctrl-C does, and returns the output.
    func stop() async throws -> Tool.Output {
        running.process.signalGroup(SIGINT)
        return try await running.end(within: .seconds(20))
    }
}
