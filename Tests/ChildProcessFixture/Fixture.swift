import ChildProcess
import Glibc
import PrivateRedis

/// A parent process for the tests to kill. It prints one line (its children's process groups, or redis-server's) and
/// then waits for ever.
///
///     ChildProcessFixture groups N     starts N children, each with a grandchild; all ignore SIGTERM
///     ChildProcessFixture exit N       the same, and then calls exit(0)
///     ChildProcessFixture busy N       the same, and then starts one program after another
///     ChildProcessFixture shell TEXT   runs a script, and prints its output and how it ended
///     ChildProcessFixture full N       starts a program with 0, 1, … N - 1 descriptors left, and prints what happens
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
        case "shell":
            let child = try await ChildProcess.start(
                .init(arguments: ["sh", "-c", arguments[2]], environment: ["PATH": "/usr/bin:/bin"]))
            var output: [UInt8] = []
            for await chunk in child.output { output += chunk.bytes }
            say("\(String(decoding: output, as: UTF8.self))\(await child.waitForExit())")
        case "full":
            try await startWithFewDescriptors(Int(arguments[2]) ?? 0)
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
            while arguments[1] == "busy" {
                _ = await (try ChildProcess.start(.init(arguments: ["/bin/true"]))).waitForExit()
            }
            try await Task.sleep(for: .seconds(3600))
            for child in children { await child.terminate(grace: .zero) }
        }
    }

    private static func startWithFewDescriptors(_ most: Int) async throws {
        let command = ChildProcess.Command(arguments: ["/bin/true"])
        _ = await (try ChildProcess.start(command)).waitForExit()  // what the first start opens is open now
        var limit = rlimit(rlim_cur: 128, rlim_max: 128)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        for left in 0..<most {
            var taken: [Int32] = []
            while case let descriptor = open("/dev/null", O_RDONLY), descriptor >= 0 { taken.append(descriptor) }
            for descriptor in taken.suffix(left) { close(descriptor) }
            var end: String
            do {
                end = "\(await (try ChildProcess.start(command)).waitForExit())"
            } catch {
                end = "\(error)"
            }
            for descriptor in taken.prefix(taken.count - left) { close(descriptor) }
            say(end)
        }
    }

    private static func say(_ line: String) {
        print(line)
        fflush(nil)
    }
}
