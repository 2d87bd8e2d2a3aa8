import ChildProcess
import Glibc

/// One run of redis-server, from its spawn until it serves.
struct RedisProcess {
    let child: ChildProcess
    /// What it wrote before it opened its log (a bad option, a library that is missing): the last 2 KiB.
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

    /// Returns when PING is answered with PONG. Throws if the process ends, the time is up, or the task is cancelled;
    /// the process is then the caller's to end.
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
