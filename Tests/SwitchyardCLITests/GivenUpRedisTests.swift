import ChildProcess
import Foundation
import Testing

@testable import SwitchyardCLI

/// A private redis-server that keeps dying ends the command that owns it: without it nothing works.
@Suite(.serialized) struct GivenUpRedisTests {
    private func redis(_ socket: String, _ command: String...) async throws -> String {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let child = try await ChildProcess.start(
            .init(arguments: ["redis-cli", "-s", socket] + command, environment: ["PATH": path]))
        return try await Running(child).end().stdout
    }

    @Test(arguments: [["dev", "--workers", "1"], ["dev", "--workers", "0", "--ephemeral"], ["serve"]])
    func theCommandEndsWithWordsToActOn(arguments: [String]) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString.prefix(8))").path
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let data = arguments.contains("--ephemeral") ? [] : ["--data", directory]
        let command = try await Tool.start(arguments + ["--listen", "127.0.0.1:0"] + data)
        let socket = try await Tool.eventually("its redis-server: \(command.stderr)") { () -> String? in
            if !data.isEmpty { return directory + "/redis.sock" }
            return command.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#).map { String($0.1) }
        }
        var killed: Set<Int32> = []
        while killed.count < 5 {
            let server = try await Tool.eventually("redis-server runs again: \(command.stderr)") { () -> Int32? in
                let text = try await redis(socket, "info", "server")
                let server = text.firstMatch(of: #/process_id:(\d+)/#).flatMap { Int32($0.1) }
                // The command ends after the fifth, perhaps before this loop sees it.
                if command.process.exitStatus != nil { return -1 }
                return server.flatMap { killed.contains($0) ? nil : $0 }
            }
            killed.insert(server)
            if server > 1 { kill(server, SIGKILL) } else { break }
        }
        let end = try await command.end(within: .seconds(40))
        #expect(end.exitCode == 1, "\(end.stderr)")
        #expect(end.stderr.contains("the private redis-server ended too often"), "\(end.stderr)")
        #expect(end.stderr.contains("redis.log"), "\(end.stderr)")
        guard !data.isEmpty else { return }
        // The directory is free again, and the next start finds the data.
        let again = try await Tool.start(["serve", "--listen", "127.0.0.1:0"] + data)
        _ = try await Tool.eventually("it starts again: \(again.stderr)") {
            again.stderr.contains("listening") ? true : nil
        }
        again.process.signalGroup(SIGTERM)
        #expect(try await again.end().exitCode == 0)
    }
}
