import Foundation
import Logging
import RedisClient
import Synchronization

/// A redis-server of these tests alone: on a Unix socket in its own directory, and gone when the tests end.
final class RedisForTests: Sendable {
    let socket: String
    let client: RedisClient
    private let process: Process

    private static let started = Mutex<[(pid: pid_t, directory: URL)]>([])

    /// Starts a server and waits until it replies.
    /// - Parameter arguments: further arguments of redis-server.
    static func start(arguments: [String] = []) async throws -> RedisForTests {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "swy-http-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let socket = directory.appending(path: "redis.sock").path
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/redis-server")
        process.arguments = [
            "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", directory.path,
            "--logfile", directory.appending(path: "redis.log").path,
        ]
        process.arguments? += arguments
        try process.run()
        started.withLock { started in
            if started.isEmpty { atexit { RedisForTests.killAll() } }
            started.append((process.processIdentifier, directory))
        }
        let server = RedisForTests(process: process, socket: socket)
        try await eventually("redis-server replies") {
            (try? await server.client.send(RedisCommand("PING"))) != nil
        }
        return server
    }

    private init(process: Process, socket: String) {
        self.process = process
        self.socket = socket
        var configuration = RedisConfiguration(endpoint: .unixSocket(path: socket))
        configuration.commandTimeout = .seconds(2)
        client = RedisClient(configuration)
    }

    func stop() async throws {
        kill(process.processIdentifier, SIGKILL)
        try await eventually("redis-server ends") { !process.isRunning }
    }

    /// The names of all keys of a queue.
    func keys(of queue: String) async throws -> [String] {
        try await client.send(RedisCommand("KEYS", .string("switchyard:{\(queue)}:*"))).array?.compactMap(\.string)
            ?? []
    }

    private static func killAll() {
        for (pid, directory) in started.withLock({ $0 }) {
            kill(pid, SIGKILL)
            try? FileManager.default.removeItem(at: directory)
        }
    }
}

struct TimedOut: Error, CustomStringConvertible {
    var description: String
}

/// Checks `condition` until it holds, and throws if it does not hold in time.
func eventually(
    _ what: String, within time: Duration = .seconds(10), _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + time
    while ContinuousClock.now < deadline {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw TimedOut(description: "not within \(time): \(what)")
}
