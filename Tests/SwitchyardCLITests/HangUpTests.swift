import ChildProcess
import Foundation
import JSON
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// What a terminal does to the command: tasks cannot read from it, and closing it drains.
@Suite(.serialized) struct HangUpTests {
    /// `dev` as the program of a terminal. SIGUSR1 to `terminal` closes the terminal.
    private struct Session {
        let terminal: Running
        let url: String

        private static let python = """
            import os, pty, signal, sys
            child, terminal = pty.fork()
            if child == 0: os.execv(sys.argv[1], sys.argv[1:])
            signal.signal(signal.SIGUSR1, lambda *_: os.close(terminal))
            while True:
                try: output = os.read(terminal, 65536)
                except OSError: break
                if not output: break
                os.write(1, output)
            print("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            """

        static func start(_ arguments: [String]) async throws -> Session {
            let terminal = Running(
                try await ChildProcess.start(
                    .init(
                        arguments: ["python3", "-c", python, Tool.path, "dev", "--listen", "127.0.0.1:0"] + arguments,
                        environment: ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "", "HOME": "/tmp"])))
            let url = try await Tool.eventually("dev prints its URL") {
                terminal.stdout.firstMatch(of: #/running: (http://\S+:\d+)/#).map { String($0.1) }
            }
            return Session(terminal: terminal, url: url)
        }

        func run(_ arguments: [String]) async throws -> Tool.Output { try await Tool.run(arguments, server: url) }
    }

    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    @Test func aTaskThatAsksForAPasswordFailsAtOnceAndClosingTheTerminalDrains() async throws {
        try await withDirectory { directory in
            let session = try await Session.start(["--ephemeral", "--workers", "2"])
            for script in ["read word < /dev/tty", "stty -F /dev/tty -echo; exit 7"] {
                let asked = try await session.run([
                    "submit", "--wait", "--timeout", "40", "--max-retries", "0", "--", "sh", "-c", script,
                ])
                #expect(asked.exitCode == 2, "\(asked.stderr)")
            }
            for number in 1...2 {
                let script = "echo > \(directory)/begun\(number); sleep 1.5; echo > \(directory)/ended\(number)"
                #expect(try await session.run(["submit", "--", "sh", "-c", script]).exitCode == 0)
            }
            _ = try await Tool.eventually("both tasks run") {
                try FileManager.default.contentsOfDirectory(atPath: directory).count >= 2 ? true : nil
            }
            kill(session.terminal.process.processID, SIGUSR1)
            let end = try await session.terminal.end(within: .seconds(30))
            #expect(end.stdout.contains("exit 0"), "\(end.stdout)")
            let files = try FileManager.default.contentsOfDirectory(atPath: directory)
            #expect(files.sorted() == ["begun1", "begun2", "ended1", "ended2"], "it drains: \(end.stdout)")
        }
    }

    /// Each long-running command. Without a terminal, SIGHUP is the same request.
    @Test(arguments: ["dev", "serve", "worker", "autoscale"], [false, true])
    func hangingUpEndsACommandUnlessItIsIgnored(verb: String, isIgnored: Bool) async throws {
        try await TestRedis.run { redis in
            let arguments =
                switch verb {
                case "dev": ["dev", "--listen", "127.0.0.1:0", "--workers", "0"]
                case "serve": ["serve", "--listen", "127.0.0.1:0"]
                case "worker": ["worker", "--id", "w"]
                default: ["autoscale", "--min", "1", "--max", "1", "--", "sh", "-c", "echo up; exec sleep 60"]
                }
            let up = ["dev": "Switchyard is running", "serve": "listening", "worker": "worker registered"][verb]
            let started = Running(
                try await ChildProcess.start(
                    .init(
                        arguments: ["sh", "-c", (isIgnored ? "trap '' HUP; " : "") + #"exec "$0" "$@""#, Tool.path]
                            + arguments,
                        environment: [
                            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "", "SWITCHYARD_REDIS": redis.url,
                            "SWITCHYARD_SERVER": "http://127.0.0.1:1",
                        ])))
            _ = try await Tool.eventually("\(verb) runs: \(started.stderr)") {
                (started.stdout + started.stderr).contains(up ?? "auto-1 | up") ? true : nil
            }
            let process = started.process
            kill(process.processID, SIGHUP)
            if isIgnored {
                // Signals are delivered in no order, so a moment shows that nothing follows.
                try await Task.sleep(for: .milliseconds(300))
                #expect(process.exitStatus == nil)
                kill(process.processID, SIGTERM)
            }
            #expect(try await started.end(within: .seconds(30)).exitCode == 0)
        }
    }
}
