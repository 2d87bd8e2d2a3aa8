import ChildProcess
import Foundation
import Testing

@testable import SwitchyardCLI

/// The workers in `scripts/workers`, given tasks as people submit them. A worker never says that it completed what it
/// did not run.
@Suite(.serialized) struct ExampleWorkerTests {
    private static let scripts = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "scripts/workers").path

    /// Runs `body` with `dev`, one example worker, and an empty directory.
    private func with(
        _ worker: String, _ body: (DevServer, URL) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "swy-ex-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let dev = try await DevServer.start(["--workers", "0", "--data", folder.appending(path: "data").path])
        let python = ["/usr/bin/python3", "python3"].first { FileManager.default.isExecutableFile(atPath: $0) }
        let script = "\(Self.scripts)/\(worker)"
        let process = try await ChildProcess.start(
            .init(
                arguments: (worker.hasSuffix(".py") ? [python ?? "python3"] : []) + [script, "example"],
                environment: [
                    "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "HOME": "/tmp",
                    "SWITCHYARD_REDIS": "unix://\(folder.path)/data/redis.sock",
                ]))
        process.discardOutput()
        try await body(dev, folder)
        await process.terminate(grace: .seconds(2))
        _ = try await dev.stop()
    }

    @Test(arguments: ["worker.sh", "worker.py"])
    func aCommandIsRunAsItWasWritten(worker: String) async throws {
        try await with(worker) { dev, folder in
            let proof = folder.appending(path: "a proof's \"name\"").path
            let words = ["x", "two words", "it's", "\"quoted\"", "a\nb", "$HOME", "ümlaut", "*", "", "\\"]
            let ended = try await dev.run(
                ["submit", "--wait", "--", "sh", "-c", #"printf '%s|' "$@" > "$0""#, proof] + words)
            #expect(ended.exitCode == 0, "\(ended.stderr)")
            #expect(try String(contentsOfFile: proof, encoding: .utf8) == words.map { $0 + "|" }.joined())

            let inFolder = try await dev.run(
                [
                    "submit", "--wait", "--cwd", folder.path, "--env", "COLOUR=dark green", "--", "sh", "-c",
                    #"echo "$COLOUR" > here"#,
                ])
            #expect(inFolder.exitCode == 0, "\(inFolder.stderr)")
            #expect(try String(contentsOfFile: folder.path + "/here", encoding: .utf8) == "dark green\n")

            let failed = try await dev.run(["submit", "--wait", "--max-retries", "0", "--", "sh", "-c", "exit 3"])
            #expect(failed.exitCode == 2)
        }
    }

    @Test(arguments: ["worker.sh", "worker.py"])
    func whatItDoesNotKnowFailsAtOnce(worker: String) async throws {
        try await with(worker) { dev, _ in
            for payload in [#"{"scene":1}"#, "7", "[]", "null"] {
                let ended = try await dev.run(["submit", "--wait", "--payload", payload])
                #expect(ended.exitCode == 2, "\(payload): \(ended.stderr)")
                #expect(ended.stderr.contains("NoCommand"), "\(payload): \(ended.stderr)")
                let task = try await dev.run(["get", ended.line, "-o", "json"]).json()
                #expect(task["attempt"]?.int == 1, "\(payload) was retried")
            }
        }
    }

    @Test func aTextAsPayloadIsACommandLineForBash() async throws {
        try await with("worker.sh") { dev, folder in
            let ended = try await dev.run(
                ["submit", "--wait", "--payload", #""echo \"it's here\" > \#(folder.path)/proof""#])
            #expect(ended.exitCode == 0, "\(ended.stderr)")
            #expect(try String(contentsOfFile: folder.path + "/proof", encoding: .utf8) == "it's here\n")
        }
    }
}
