import ChildProcess
import Foundation
import Testing

@testable import SwitchyardCLI

/// Runs the commands of Scheduling.md one after the other in one shell: each exits with 0 and prints what the page
/// shows.
@Suite struct SchedulingPageTests {
    private struct Example: Sendable {
        var command: String
        /// Output lines that the page shows; `…` matches anything.
        var shown: [String] = []
    }

    private static let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Sources/Switchyard/Switchyard.docc/Scheduling.md").standardized

    private static func examples() throws -> [Example] {
        var examples: [Example] = []
        var isInside = false
        for line in try String(contentsOf: page, encoding: .utf8).split(separator: "\n").map(String.init) {
            if line.hasPrefix("```") {
                isInside = line == "```console"
            } else if isInside, line.hasPrefix("$ ") {
                examples.append(Example(command: String(line.dropFirst(2))))
            } else if isInside, !examples.isEmpty {
                examples[examples.count - 1].shown.append(line)
            }
        }
        return examples
    }

    /// Returns the rest of `text` after the parts of `pattern`, which must occur in this order; nil if they do not.
    private static func find(_ pattern: String, in text: Substring) -> Substring? {
        var rest = text
        for part in pattern.split(separator: "…") where !part.isEmpty {
            guard let range = rest.firstRange(of: part) else { return nil }
            rest = rest[range.upperBound...]
        }
        return rest
    }

    @Test func everyCommandOfThePageDoesWhatThePageSays() async throws {
        let examples = try Self.examples()
        #expect(examples.count > 40)
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("page-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        // A command that fails ends the script, so its output comes last.
        let script = examples.enumerated().map { "echo '@@ \($0)'; \($1.command)\n" }.joined()
        let tools = URL(fileURLWithPath: Tool.path).deletingLastPathComponent().path
        let shell = Running(
            try await ChildProcess.start(
                .init(
                    arguments: ["bash", "-e", "-c", "exec 2>&1\n\(script)echo '@@ end'"],
                    environment: [
                        "PATH": "\(tools):\(ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")",
                        "HOME": directory, "SWITCHYARD_SERVER": dev.url, "SWITCHYARD_REDIS": "unix://\(socket)",
                    ],
                    workingDirectory: directory)))
        let end = try await shell.end(within: .seconds(120))
        #expect(end.exitCode == 0, "\(end.stdout)")
        var outputs: [String] = []
        for line in end.stdout.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("@@ ") {
                outputs.append("")
            } else {
                outputs.append((outputs.popLast() ?? "") + line + "\n")
            }
        }
        for (example, output) in zip(examples, outputs) {
            var rest = output[...]
            for line in example.shown {
                guard let after = Self.find(line, in: rest) else {
                    Issue.record("$ \(example.command)\nshould say: \(line)\nand says:\n\(output)")
                    break
                }
                rest = after
            }
        }
        #expect(try await dev.stop().exitCode == 0)
    }
}
