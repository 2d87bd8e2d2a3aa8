import ChildProcess
import Glibc

/// One process of redis-server, from its start until it replies to PING.
struct RedisProcess {
    let child: ChildProcess
    /// The last 2 KiB of what it wrote to stdout and stderr, such as errors before it opened its log.
    private let lastWords: Task<String, Never>

    static func spawn(_ directory: DataDirectory, options: PrivateRedisServer.Options) async throws -> RedisProcess {
        directory.rotateLog()
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        let command = ChildProcess.Command(
            arguments: [options.executable, directory.configPath] + options.extraArguments,
            environment: ["PATH": path, "LC_ALL": "C"],
            inheritedDescriptors: [directory.lock.descriptor])
        do {
            let child = try await ChildProcess.start(command)
            return RedisProcess(child: child, lastWords: Task { await tail(of: child) })
        } catch let error where error.isProgramMissing {
            throw PrivateRedisError.executableMissing(options.executable)
        } catch {
            throw PrivateRedisError.spawn("\(error)")
        }
    }

    /// Returns when redis-server replies PONG. Throws if the process ends, the time is up, or the task is cancelled;
    /// the caller must then end the process.
    func waitUntilReady(_ directory: DataDirectory, options: PrivateRedisServer.Options) async throws {
        let started = ContinuousClock.now
        var lastSign = started
        while true {
            let answer = try await RedisProbe.ping(socketPath: directory.socketPath)
            if answer == .pong { return }
            if let status = child.exitStatus {
                let log = await lastWords.value + directory.logTail()
                throw PrivateRedisError.exitedAtStart(status: "\(status)", log: log)
            }
            let now = ContinuousClock.now
            if answer == .loading { lastSign = now }
            guard now - lastSign < options.startTimeout, now - started < options.loadTimeout else {
                throw PrivateRedisError.notReady(
                    seconds: (now - started) / .seconds(1), lastAnswer: "\(answer)", log: directory.logTail())
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    private static func tail(of child: ChildProcess) async -> String {
        var bytes: [UInt8] = []
        for await chunk in child.output {
            bytes += chunk.bytes
            if bytes.count > 4096 { bytes.removeFirst(bytes.count - 2048) }
        }
        return String(decoding: bytes.suffix(2048), as: UTF8.self)
    }
}
