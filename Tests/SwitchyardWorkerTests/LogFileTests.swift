import Foundation
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardWorker

/// The files of `--log-dir`: the whole output of each attempt.
@Suite struct LogFileTests {
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("switchyard-logs-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
        // Only the directory of this test is left if it cannot be removed.
        defer { try? FileManager.default.removeItem(at: path) }
        try await body(path.path)
    }

    private func handler(_ directory: String) -> CommandHandler {
        var handler = CommandHandler()
        handler.logDirectory = directory
        return handler
    }

    private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    @Test func aFileHasTheWholeOutputAndTheLogTheEnds() async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                try await queue.withWorker(handler: handler(directory)) { _ in
                    let id = try await queue.submit(
                        command: ["bash", "-c", "seq 1 1000000; echo last >&2"], id: "long:task.1")
                    let task = try await queue.ended(id)
                    #expect(task.state == .completed)
                    let path = directory + "/long:task.1.1.log"
                    #expect(task.resultField("log_file") as? String == path)
                    let whole = try text(path)
                    #expect(whole == (1...1_000_000).map { "\($0)\n" }.joined() + "last\n")
                    let attributes = try FileManager.default.attributesOfItem(atPath: path)
                    #expect(attributes[.posixPermissions] as? Int == 0o600)
                    let log = try await queue.handle.readLog(id, limit: 5000)
                    #expect(log.reduce(0) { $0 + $1.missingBytes + $1.data.readableBytes } == whole.utf8.count)
                    #expect(log.contains { $0.missingBytes > 0 })
                }
            }
        }
    }

    @Test func eachAttemptHasItsOwnFile() async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                try await queue.withWorker(slots: 3, handler: handler(directory)) { _ in
                    let script = "echo $SWITCHYARD_ATTEMPT; exit 1"
                    _ = try await queue.submit(command: ["bash", "-c", script], id: "t", maxRetries: 2)
                    #expect(try await queue.ended("t").state == .failed)
                    for attempt in 1...3 { #expect(try text("\(directory)/t.\(attempt).log") == "\(attempt)\n") }
                }
            }
            // Another queue with the same id, or the same after its data was lost: nothing is written over.
            for name in ["t.1.2.log", "t.1.3.log"] {
                try await TestQueue.run(settings: quickSettings) { queue in
                    try await queue.withWorker(handler: handler(directory)) { _ in
                        _ = try await queue.submit(command: ["echo", name], id: "t")
                        #expect(try await queue.ended("t").resultField("log_file") as? String == "\(directory)/\(name)")
                        #expect(try text("\(directory)/\(name)") == name + "\n")
                    }
                }
            }
            #expect(try text("\(directory)/t.1.log") == "1\n")
        }
    }

    @Test func aDirectoryThatIsGoneIsToldAndTheTaskRuns() async throws {
        try await withDirectory { directory in
            try await TestQueue.run(settings: quickSettings) { queue in
                try await queue.withWorker(handler: handler(directory + "/gone")) { _ in
                    let id = try await queue.submit(command: ["echo", "out"])
                    let task = try await queue.ended(id)
                    #expect(task.state == .completed)
                    #expect(task.resultField("log_file") == nil)
                    let log = try await queue.logText(id)
                    #expect(log.hasPrefix("[switchyard: cannot create \(directory)/gone/\(id).1.log: No such file"))
                    #expect(log.hasSuffix("]\nout\n"))
                }
            }
        }
    }

    @Test(arguments: ["..", ".", "../../x", "/etc/x", "a/b", "", "ä", String(repeating: "n", count: 400), "a\0b"])
    func noIdLeavesTheDirectory(id: String) async throws {
        try await withDirectory { directory in
            let inner = directory + "/inner"
            try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: false)
            let file = try LogFile(in: inner, taskID: id, attempt: Int(Int32.max))
            #expect(await file.write(Array("x".utf8)) == nil)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["inner"])
            let names = try FileManager.default.contentsOfDirectory(atPath: inner)
            #expect(names.count == 1)
            #expect(names[0].utf8.count <= 255)
            #expect(file.path == inner + "/" + names[0])
        }
    }

    @Test func aLinkInTheDirectoryIsNotFollowed() async throws {
        try await withDirectory { directory in
            let inner = directory + "/inner"
            try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: false)
            try FileManager.default.createSymbolicLink(
                atPath: inner + "/t.1.log", withDestinationPath: directory + "/outside")
            let file = try LogFile(in: inner, taskID: "t", attempt: 1)
            #expect(file.path == inner + "/t.1.2.log")
            #expect(await file.write([1]) == nil)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["inner"])
        }
    }
}
