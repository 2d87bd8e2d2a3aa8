import ChildProcess
import FoundationEssentials
import Glibc
import Testing

/// Helpers that the suites share: they run a program, and read /proc. Every wait has a deadline.

let testPath = "/usr/local/bin:/usr/bin:/bin"

func startShell(
    _ script: String, input: ChildProcess.Command.StandardInput = .null
) async throws -> ChildProcess {
    try await ChildProcess.start(
        .init(arguments: ["sh", "-c", script], environment: ["PATH": testPath], standardInput: input))
}

/// The output of a child, and its exit status.
struct Ran {
    var stdout: [UInt8] = []
    var stderr: [UInt8] = []
    var status: ChildProcess.ExitStatus?

    var text: String { String(decoding: stdout, as: UTF8.self) }
    var lines: [String] { text.split(separator: "\n").map(String.init) }
}

func finish(_ child: ChildProcess) async -> Ran {
    var ran = Ran()
    for await chunk in child.output {
        if chunk.stream == .stdout { ran.stdout += chunk.bytes } else { ran.stderr += chunk.bytes }
    }
    ran.status = await child.waitForExit()
    return ran
}

func run(_ arguments: [String], environment: [String: String] = ["PATH": testPath]) async throws -> Ran {
    await finish(try await ChildProcess.start(.init(arguments: arguments, environment: environment)))
}

/// The first line of a child's stdout.
func firstLine(of child: ChildProcess) async -> String {
    var bytes: [UInt8] = []
    for await chunk in child.output where chunk.stream == .stdout {
        bytes += chunk.bytes
        if bytes.contains(UInt8(ascii: "\n")) { break }
    }
    return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
}

/// Repeats the question until it returns true; records an issue if that takes more than 30 s.
func eventually(
    _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation, _ isTrue: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while try await !isTrue() {
        guard ContinuousClock.now < deadline else {
            Issue.record(what, sourceLocation: sourceLocation)
            return
        }
        try await Task.sleep(for: .milliseconds(10))
    }
}

/// One process as /proc shows it.
struct ProcessEntry {
    let processID: Int32
    let name: String
    let state: Character
    let parent: Int32
    let group: Int32

    /// The processes that are alive: a zombie holds nothing and runs nothing.
    static func all() -> [ProcessEntry] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { Int32($0) }.compactMap(read).filter { $0.state != "Z" && $0.state != "X" }
    }

    private static func read(_ processID: Int32) -> ProcessEntry? {
        // The process ended after it was listed: no entry.
        guard let data = try? Data(contentsOf: URL(filePath: "/proc/\(processID)/stat")) else { return nil }
        let text = String(decoding: data, as: UTF8.self)
        guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")") else { return nil }
        let fields = text[close...].dropFirst().split(separator: " ")
        guard fields.count > 2, let state = fields[0].first, let parent = Int32(fields[1]),
            let group = Int32(fields[2])
        else { return nil }
        let name = String(text[text.index(after: open)..<close])
        return ProcessEntry(processID: processID, name: name, state: state, parent: parent, group: group)
    }
}

func members(of group: Int32) -> [Int32] {
    ProcessEntry.all().filter { $0.group == group }.map(\.processID)
}

func isAlive(_ processID: Int32) -> Bool {
    ProcessEntry.all().contains { $0.processID == processID }
}

func temporaryDirectory() throws -> String {
    var template = Array("/tmp/switchyard-test-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

func remove(_ path: String) {
    try? FileManager.default.removeItem(atPath: path)
}

/// The path of the fixture, which is built in the same directory as the test bundle.
func fixturePath() throws -> String {
    let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let beside = own.split(separator: "/").dropLast().joined(separator: "/")
    let path = ["/" + beside, buildDirectory()].compactMap { $0 }.map { $0 + "/ChildProcessFixture" }
        .first { FileManager.default.isExecutableFile(atPath: $0) }
    return try #require(path, "ChildProcessFixture is not built: is its target in Package.swift?")
}

func startFixture(_ arguments: String...) async throws -> ChildProcess {
    try await ChildProcess.start(
        .init(arguments: [try fixturePath()] + arguments, environment: ["PATH": testPath]))
}

/// The directory of the test bundle, whose path is among the arguments of this process: on some platforms a helper of
/// the toolchain runs the bundle.
private func buildDirectory() -> String? {
    CommandLine.arguments.first { $0.hasSuffix(".xctest") }
        .map { "/" + $0.split(separator: "/").dropLast().joined(separator: "/") }
}
