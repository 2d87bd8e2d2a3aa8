import Foundation
import NIOCore

@testable import RedisClient

/// A redis-server for one test, in its own directory, which is removed after the test.
///
/// The server listens only on a Unix socket, unless told otherwise. `crash` and `start` may follow each other any
/// number of times.
actor TestRedis {
    enum Failure: Error { case didNotStart(String) }

    nonisolated let directory: String
    private let options: [String]
    private var process: Process?

    nonisolated var socket: String { directory + "/redis.sock" }
    nonisolated var url: String { "unix://" + socket }

    private init(options: [String]) throws {
        directory = "/tmp/rct-" + UUID().uuidString.prefix(8)
        self.options = options
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    }

    /// Runs `body` with a new server and a client of it; both are gone afterwards, also if `body` throws.
    static func run(
        options: [String] = [], port: Int = 0, url: String? = nil,
        _ body: (TestRedis, RedisClient) async throws -> Void
    ) async throws {
        let server = try TestRedis(options: options + ["--port", "\(port)"])
        defer { try? FileManager.default.removeItem(atPath: server.directory) }
        let client = RedisClient(try RedisConfiguration(url: url ?? server.url))
        do {
            try await server.start()
            try await body(server, client)
        } catch {
            await client.shutdown()
            await server.crash()
            throw error
        }
        await client.shutdown()
        await server.crash()
    }

    func start() async throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            ["redis-server", "--unixsocket", socket, "--dir", directory, "--save", "", "--enable-debug-command", "yes"]
            + options
        process.standardOutput = FileHandle(forWritingAtPath: "/dev/null")
        try process.run()
        self.process = process
        // A crash may have left the socket file behind, so only a reply shows that the server is up.
        let probe = RedisClient(try RedisConfiguration(url: url))
        let limit = ContinuousClock.now + .seconds(10)
        while true {
            do {
                _ = try await probe.send(RedisCommand("PING"))
                break
            } catch let error as RedisError where error.kind == .server {
                break
            } catch {
                guard ContinuousClock.now < limit, process.isRunning else {
                    throw Failure.didNotStart("\(error)")
                }
            }
        }
        await probe.shutdown()
    }

    /// Kills the server with SIGKILL, and waits until its process is gone.
    func crash() {
        guard let process, process.isRunning else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        self.process = nil
    }

    /// Sends SIGSTOP: the server keeps its connections and replies to nothing.
    func freeze() { signal(SIGSTOP) }
    func unfreeze() { signal(SIGCONT) }

    private func signal(_ number: Int32) {
        if let process, process.isRunning { kill(process.processIdentifier, number) }
    }

    /// Returns a port that was free a moment ago.
    static func freePort() throws -> Int {
        let listener = socketDescriptor()
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let ok = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(listener, address, length) == 0 && getsockname(listener, address, &length) == 0
            }
        }
        guard ok else { throw Failure.didNotStart("no free port: errno \(errno)") }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    private static func socketDescriptor() -> Int32 {
        Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    }
}

/// Checks `condition` until it holds. Returns false if it does not hold within the limit.
func eventually(within limit: Duration = .seconds(10), _ condition: () async throws -> Bool) async rethrows -> Bool {
    let end = ContinuousClock.now + limit
    while ContinuousClock.now < end {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}

/// Returns the error that `body` throws, if it is a RedisError.
func redisError(_ body: () async throws -> Void) async throws -> RedisError? {
    do {
        try await body()
        return nil
    } catch let error as RedisError {
        return error
    }
}

extension RedisClient {
    /// Returns true once `count` clients are blocked in the server.
    func waitForBlockedClients(_ count: Int) async throws -> Bool {
        try await eventually {
            let info = try await send(RedisCommand("INFO", "clients")).string ?? ""
            return info.contains("blocked_clients:\(count)\r")
        }
    }
}
