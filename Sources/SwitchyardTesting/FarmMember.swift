import ChildProcess
import Foundation
import Glibc
import RedisClient
import Synchronization

/// One redis-server of a farm, with data or as a sentinel, on a port of 127.0.0.1. Its configuration file and its data
/// stay when it ends, so that it can be started again.
public final class FarmMember: Sendable {
    /// Why a farm cannot do what it was told.
    public struct Failure: Error, CustomStringConvertible {
        /// What happened.
        public let description: String

        init(_ description: String) { self.description = description }
    }

    /// Its port on 127.0.0.1.
    public let port: Int
    /// The directory of its configuration, its data and its log.
    public let directory: String
    private let configuration: RedisConfiguration
    private let state = Mutex<(child: ChildProcess?, isSentinel: Bool)>((nil, false))

    static let environment = ["PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"]
    /// Generous: a machine may be busy.
    static let limit: Duration = .seconds(30)
    /// On a busy machine sentinels give up elections, and begin the next one only seconds later.
    static let electionLimit: Duration = .seconds(90)

    init(port: Int, directory: String, lines: [String], password: String?, certificate: TestCertificate?) throws {
        self.port = port
        self.directory = directory
        var configuration = RedisConfiguration(endpoint: .tcp(host: "127.0.0.1", port: port))
        configuration.password = password
        configuration.tls = certificate != nil
        configuration.caFile = certificate?.path
        configuration.commandTimeout = .seconds(2)
        configuration.clientName = "farm"
        self.configuration = configuration
        var text = [
            "bind 127.0.0.1", "protected-mode no", "dir \(directory)", "logfile \(directory)/log", "daemonize no",
        ]
        if let certificate {
            text += certificate.options(port: port).map { "\($0.name) \($0.value)" }
        } else {
            text.append("port \(port)")
        }
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try (text + lines).joined(separator: "\n").appending("\n")
            .write(toFile: "\(directory)/redis.conf", atomically: true, encoding: .utf8)
    }

    /// Whether its process runs, paused or not.
    public var isRunning: Bool { state.withLock { $0.child.map { $0.exitStatus == nil } ?? false } }

    /// Starts it for the first time. Returns when it replies.
    func start(isSentinel: Bool = false) async throws {
        state.withLock { $0.isSentinel = isSentinel }
        try await start()
    }

    /// Starts it again, with its data and the configuration that sentinels have rewritten. Returns when it replies.
    public func start() async throws {
        let isSentinel = state.withLock { $0.isSentinel }
        let child = try await ChildProcess.start(
            .init(
                arguments: ["redis-server", "\(directory)/redis.conf"] + (isSentinel ? ["--sentinel"] : []),
                environment: Self.environment))
        child.discardOutput()
        state.withLock { $0.child = child }
        try await Self.poll("redis-server at port \(port) replies") {
            if let status = child.exitStatus {
                throw Failure("redis-server at port \(port) ended at its start (\(status)); its log is in \(directory)")
            }
            return try await send("PING").string == "PONG"
        }
    }

    /// Kills it with SIGKILL, as in a crash. Returns when its process has ended.
    public func kill() async { await end(SIGKILL) }

    /// Lets its process stand still: it keeps its connections and replies to nothing.
    public func pause() { state.withLock { $0.child }?.signalGroup(SIGSTOP) }

    /// Lets a paused process go on.
    public func resume() { state.withLock { $0.child }?.signalGroup(SIGCONT) }

    func stop() async { await end(SIGKILL) }

    private func end(_ signal: Int32) async {
        guard let child = state.withLock({ $0.child }) else { return }
        child.signalGroup(signal)
        _ = await child.waitForExit()
    }

    /// Removes the data of a member that does not run, as if its disk were empty.
    public func removeData() throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: directory)
        where name != "redis.conf" && name != "log" {
            try FileManager.default.removeItem(atPath: "\(directory)/\(name)")
        }
    }

    /// Sends one command to this server, whatever its role. Returns its reply, which may be an error; a null, if it
    /// does not reply.
    @discardableResult
    public func send(_ name: String, _ arguments: RedisArgument...) async throws -> RESPValue {
        let client = RedisClient(configuration)
        let reply: RESPValue
        do {
            reply = try await client.send(RedisCommand(name, arguments))
        } catch let error as RedisError {
            reply = error.kind == .server ? .error(error) : .null
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
        return reply
    }

    /// Checks `condition` until it holds.
    /// - Throws: what it throws, and ``Failure`` if it does not hold in time.
    static func poll(
        _ what: String, within limit: Duration = FarmMember.limit, _ condition: () async throws -> Bool
    ) async throws {
        let end = ContinuousClock.now + limit
        while try await !condition() {
            guard ContinuousClock.now < end else { throw Failure("it does not come true that \(what)") }
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}

/// Ports of the loopback interface.
enum LoopbackPort {
    /// Ports for servers: below those that the kernel gives to outgoing connections, which could take the port of a
    /// server that is being started again.
    private static let range = 20_000..<32_000

    /// Returns ports that are free now.
    static func free(_ count: Int) throws -> [Int] {
        var found: Set<Int> = []
        for _ in 0..<1000 where found.count < count {
            let port = Int.random(in: range)
            if isFree(port) { found.insert(port) }
        }
        guard found.count == count else { throw FarmMember.Failure("there are no free ports on 127.0.0.1") }
        return Array(found)
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
