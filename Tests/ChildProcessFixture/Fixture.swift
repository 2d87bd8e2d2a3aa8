import ChildProcess
import Glibc
import PrivateRedis

/// A parent process for the tests to kill. It prints one line (its children's process groups, or redis-server's) and
/// then waits for ever.
///
///     ChildProcessFixture groups N     starts N children, each with a grandchild; all ignore SIGTERM
///     ChildProcessFixture exit N       the same, and then calls exit(0)
///     ChildProcessFixture redis DIR    starts a private redis-server; "-": in a temporary directory
@main
struct Fixture {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3 else { exit(2) }
        switch arguments[1] {
        case "redis":
            let directory = arguments[2] == "-" ? nil : arguments[2]
            let server = try await PrivateRedisServer.start(.init(directory: directory))
            say("\(await server.processID ?? 0) \(server.url)")
            try await Task.sleep(for: .seconds(3600))
            await server.stop()
        default:
            var children: [ChildProcess] = []
            for _ in 0..<(Int(arguments[2]) ?? 0) {
                let script = "trap '' TERM; sleep 1000 & echo ready; sleep 1000; sleep 1000"
                children.append(
                    try await ChildProcess.start(
                        .init(arguments: ["sh", "-c", script], environment: ["PATH": "/usr/bin:/bin"])))
            }
            for child in children { for await _ in child.output { break } }
            say(children.map { String($0.processGroup) }.joined(separator: " "))
            if arguments[1] == "exit" { exit(0) }
            try await Task.sleep(for: .seconds(3600))
            for child in children { await child.terminate(grace: .zero) }
        }
    }

    private static func say(_ line: String) {
        print(line)
        fflush(nil)
    }
}
