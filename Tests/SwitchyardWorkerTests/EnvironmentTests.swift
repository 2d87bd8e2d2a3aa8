import Foundation
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardWorker

/// The environment and the directory in which a command runs.
@Suite struct EnvironmentTests {
    @Test func aTaskInheritsWhatIsListed() {
        var handler = CommandHandler()
        handler.inheritedVariables += ["CI", "BUILD_*"]
        let own = [
            "PATH": "/bin", "TZ": "UTC", "LC_ALL": "C", "LC_TIME": "de", "LANG": "C", "https_proxy": "p",
            "NO_PROXY": "n", "CI": "1", "CI_TOKEN": "t", "BUILD_": "b", "BUILD_ID": "7", "AWS_SECRET": "s", "LC": "x",
            "SWITCHYARD_REDIS": "secret",
        ]
        #expect(
            Set(handler.inherited(from: own).keys) == [
                "PATH", "TZ", "LC_ALL", "LC_TIME", "LANG", "https_proxy", "NO_PROXY", "CI", "BUILD_", "BUILD_ID",
            ])
    }

    @Test func theTasksOwnVariablesReplaceTheWorkers() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            var handler = CommandHandler()
            handler.variables = ["A": "worker", "B": "worker", "HOME": "/w", "SWITCHYARD_TASK_ID": "forged"]
            try await queue.withWorker(handler: handler) { _ in
                let id = try await queue.submit(command: ["env"]) { $0.request.environment = ["B": "task"] }
                #expect(try await queue.ended(id).state == .completed)
                let lines = Set(try await queue.logText(id).split(separator: "\n").map(String.init))
                #expect(lines.isSuperset(of: ["A=worker", "B=task", "HOME=/w", "SWITCHYARD_TASK_ID=\(id)"]))
            }
        }
    }

    private func withWorkspace(_ body: (String) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try await body(path)
        try FileManager.default.removeItem(atPath: path)
    }

    private func entries(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path).sorted()
    }

    @Test(arguments: [true, false])
    func eachAttemptHasACleanDirectoryThatIsRemoved(keepsFailed: Bool) async throws {
        try await withWorkspace { workspace in
            try await TestQueue.run(settings: quickSettings) { queue in
                var handler = CommandHandler(grace: .milliseconds(200))
                handler.workspace = workspace
                handler.keepsFailed = keepsFailed
                try await queue.withWorker(slots: 3, handler: handler) { _ in
                    let script = """
                        [ -z "$(ls -A)" ] || exit 9
                        mktemp >/dev/null; mkdir -p a/b; touch a/b/c; chmod 555 a/b a; pwd; echo $TMPDIR
                        exit $((2 - SWITCHYARD_ATTEMPT))
                        """
                    var ids: [String] = []
                    for _ in 0..<6 { ids.append(try await queue.submit(command: ["sh", "-c", script], maxRetries: 1)) }
                    for id in ids {
                        let task = try await queue.ended(id)
                        #expect(task.attempts.map(\.exitCode) == [1, 0])
                        let lines = try await queue.logText(id).split(separator: "\n").map(String.init)
                        #expect(Set(lines).count == 4)
                        #expect(lines.allSatisfy { $0.hasPrefix("\(workspace)/\(id).") })
                    }
                    let left = try entries(workspace)
                    #expect(left.count == (keepsFailed ? 6 : 0))
                    for name in left {
                        #expect(FileManager.default.fileExists(atPath: "\(workspace)/\(name)/work/a/b/c"))
                        #expect(try entries("\(workspace)/\(name)/tmp").count == 1)
                    }
                    for name in left { try AttemptDirectory.remove(workspace + "/" + name) }

                    let cancelled = try await queue.submit(command: ["sh", "-c", "echo up; exec sleep 60"])
                    #expect(try await eventually { try await queue.logText(cancelled) == "up\n" })
                    try await queue.handle.cancelTask(cancelled)
                    #expect(
                        try await eventually {
                            try entries(workspace).count == (keepsFailed ? 1 : 0)
                        })
                }
            }
        }
    }

    @Test func aRelativeDirectoryIsBelowThatOfTheAttempt() async throws {
        try await withWorkspace { workspace in
            try await TestQueue.run(settings: quickSettings) { queue in
                var handler = CommandHandler()
                handler.workspace = workspace
                try await queue.withWorker(handler: handler) { _ in
                    for (cwd, ending) in [("sub/dir", "/work/sub/dir"), (".", "/work"), ("/tmp", "/tmp")] {
                        let id = try await queue.submit(command: ["pwd"]) { $0.request.cwd = cwd }
                        #expect(try await queue.ended(id).state == .completed)
                        #expect(try await queue.logText(id).hasSuffix(ending + "\n"))
                    }
                    for cwd in ["..", "a/../../..", "/nowhere/at/all"] {
                        let id = try await queue.submit(command: ["pwd"]) { $0.request.cwd = cwd }
                        let task = try await queue.ended(id)
                        #expect(task.failure?.code == "CannotStart")
                        #expect(task.failure?.message.contains(cwd) == true)
                    }
                    #expect(try await eventually { try entries(workspace).isEmpty })
                }
            }
        }
    }
}
