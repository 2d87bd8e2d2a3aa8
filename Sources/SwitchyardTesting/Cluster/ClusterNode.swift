import Foundation
import PrivateRedis
import RedisClient

/// One redis-server of a ``ClusterFarm``. It listens on a port of 127.0.0.1, and keeps its data while it is down.
public final class ClusterNode: Sendable {
    /// The port for clients.
    public let port: Int
    /// The port for the other nodes.
    let busPort: Int
    /// The name that the nodes have for it.
    public let id: String
    /// A client of this node alone, over its Unix socket: it follows no redirection.
    public let client: RedisClient
    private let server: PrivateRedisServer

    private init(server: PrivateRedisServer, port: Int, busPort: Int) async throws {
        self.server = server
        self.port = port
        self.busPort = busPort
        client = RedisClient(try RedisConfiguration(url: server.url))
        do {
            id = try await client.send(RedisCommand("CLUSTER", "MYID")).string ?? ""
        } catch {
            await client.shutdown()
            throw error
        }
    }

    /// The address for clients.
    public var address: String { "127.0.0.1:\(port)" }

    /// Starts a node without slots that knows no other.
    static func start(
        timeout: Duration, certificate: TestCertificate?, arguments: [String]
    ) async throws -> ClusterNode {
        var tries = 0
        while true {
            let (port, busPort) = (try Self.freePort(), try Self.freePort())
            let listening =
                certificate.map { $0.options(port: port) + [("tls-cluster", "yes")] } ?? [("port", "\(port)")]
            let own =
                listening.flatMap { ["--" + $0.name, $0.value] } + [
                    "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", "\(busPort)",
                    "--cluster-node-timeout", "\(Int(timeout / .milliseconds(1)))", "--cluster-config-file",
                    "nodes.conf",
                    "--repl-diskless-sync-delay", "0",
                ]
            let options = PrivateRedisServer.Options(
                ephemeral: true, extraArguments: own + arguments, logger: TestRedis.quiet)
            do {
                let server = try await PrivateRedisServer.start(options)
                do {
                    return try await ClusterNode(server: server, port: port, busPort: busPort)
                } catch {
                    await server.stop()
                    throw error
                }
            } catch let error as PrivateRedisError {
                // Another process took a port meanwhile.
                tries += 1
                if tries == 5 { throw error }
            }
        }
    }

    /// Kills the server with SIGKILL. Only ``restart()`` starts it again.
    public func kill() async { await server.kill() }

    /// Starts the server again, on the same ports and with what it knew of the other nodes.
    public func restart() async throws { try await server.restart() }

    /// Sends SIGSTOP to the server: it stays connected, and does nothing.
    public func suspend() async {
        if let process = await server.processID { Foundation.kill(process, SIGSTOP) }
    }

    /// Ends ``suspend()``.
    public func resume() async {
        if let process = await server.processID { Foundation.kill(process, SIGCONT) }
    }

    /// The directory of its files, which ``stop()`` removes.
    var directory: String { server.directoryPath }

    func stop() async {
        await client.shutdown()
        await server.stop()
    }

    // MARK: Ports

    /// Returns a port of 127.0.0.1 on which nothing listens. It is below those that the system gives to outgoing
    /// connections, so that a server that was killed finds it free again.
    package static func freePort() throws -> Int {
        for _ in 0..<1000 {
            let port = Int.random(in: 15_000..<32_000)
            if isFree(port) { return port }
        }
        throw ClusterFarm.Failure(description: "no free port was found for redis-server")
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
