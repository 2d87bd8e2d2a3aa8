import Logging
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Opens connections: TCP or Unix socket, TLS, login. With Redis Sentinel it finds the primary first, and checks that
/// the server is one.
///
/// A failure is a ``RedisError``: of kind `connectionFailed`, with the endpoint and the system's reason, or of kind
/// `server`, with the server's error, if it refused the login. A failure that a retry cannot cure (a wrong password) is
/// thrown at once.
final class RedisConnector: Sendable {
    /// The number of attempts before callers get the error. They take about half a second, which covers the time
    /// between a server's restart and its first `accept`.
    static let attempts = 6

    let configuration: RedisConfiguration
    /// The server for messages: its address or, with sentinels, the name of the primary.
    let endpoint: String
    private let attempts: Int
    /// Nil without sentinels.
    private let finder: PrimaryFinder?
    private let group: any EventLoopGroup
    private let logger: Logger
    /// Created at the first connection, because reading certificates is slow and can fail.
    private let tlsContext = Mutex<NIOSSLContext?>(nil)
    /// Why the last attempt failed, for callers that time out while waiting; nil after a success.
    private let failure = Mutex<String?>(nil)
    /// Whether the server has refused to name a connection, which is logged once.
    private let hasNoName = Mutex(false)

    init(
        _ configuration: RedisConfiguration, group: any EventLoopGroup, logger: Logger,
        attempts: Int = RedisConnector.attempts
    ) {
        self.configuration = configuration
        self.group = group
        self.logger = logger
        self.attempts = attempts
        endpoint = configuration.shownEndpoint
        finder = PrimaryFinder(configuration, group: group, logger: logger)
    }

    /// Closes what finds the primary. Connections are closed by their owners.
    func shutDown() { finder?.shutDown() }

    var anyEventLoop: any EventLoop { group.next() }
    var lastFailure: String? { failure.withLock { $0 } }

    /// Connects, with several attempts and growing delays between them. Throws when the attempts or the time are used
    /// up, and at once if a retry cannot help. With sentinels it goes on for the time of a command, because another
    /// primary may be elected meanwhile.
    func connect(
        until deadline: NIODeadline, onPush: RedisConnection.PushHandler? = nil
    ) async throws -> RedisConnection {
        var backoff = Backoff(first: .milliseconds(20), limit: .milliseconds(finder == nil ? 500 : 200))
        let start = NIODeadline.now()
        var attempt = 1
        while true {
            do {
                let connection = try await connectOnce(onPush: onPush)
                failure.withLock { $0 = nil }
                finder?.attempted(true)
                return connection
            } catch let error as RedisError {
                failure.withLock { $0 = error.message }
                logger.debug("cannot connect to Redis", metadata: ["endpoint": "\(endpoint)", "error": "\(error)"])
                finder?.attempted(false)
                let isFinal =
                    error.kind == .invalidConfiguration || error.kind == .clientShutDown
                    || (error.kind == .server && !error.isNotNow)
                let isLast =
                    finder == nil
                    ? attempt == attempts : (start + TimeAmount(configuration.commandTimeout)).isPast
                if isFinal || isLast || deadline.isPast { throw error }
            }
            attempt += 1
            try await Task.sleep(for: backoff.nextDelay())
        }
    }

    /// Connects with a single attempt.
    func connectOnce(onPush: RedisConnection.PushHandler? = nil) async throws -> RedisConnection {
        let server = try await finder?.address() ?? configuration.endpoint
        let limit = TimeLimit(configuration.connectTimeout)
        let connection: RedisConnection
        do {
            connection = try await openChannel(to: server, onPush: onPush)
        } catch let error as RedisError {
            throw error
        } catch {
            throw failed(describe(error), server)
        }
        if let finder, !finder.add(connection, to: server) {
            connection.close("the sentinels name another primary")
            throw failed("the sentinels name another primary", server)
        }
        do {
            try await logIn(connection, limit: limit)
            if finder != nil { try await checkRole(connection, limit: limit) }
        } catch let error as RedisError where error.kind != .server {
            connection.close("the login failed")
            throw failed(error.message, server)
        } catch {
            connection.close("the login failed")
            throw error
        }
        return connection
    }

    private func openChannel(
        to server: RedisConfiguration.Endpoint, onPush: RedisConnection.PushHandler?
    ) async throws -> RedisConnection {
        let tls = try sharedTLSContext()
        var bootstrap = ClientBootstrap(group: group).connectTimeout(TimeAmount(configuration.connectTimeout))
        if case .tcp = server {
            bootstrap =
                bootstrap
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.socketOption(.so_keepalive), value: 1)
            #if os(Linux)
                // In milliseconds: the kernel closes the connection if sent bytes stay unacknowledged for so long.
                let userTimeout = ChannelOptions.Types.SocketOption(
                    level: SocketOptionLevel(IPPROTO_TCP), name: SocketOptionName(TCP_USER_TIMEOUT))
                bootstrap = bootstrap.channelOption(userTimeout, value: 15_000)
            #endif
        }
        let initialize: @Sendable (any Channel) -> EventLoopFuture<RedisConnection> = { channel in
            channel.eventLoop.makeCompletedFuture {
                try self.addHandlers(to: channel, of: server, tls: tls, onPush: onPush)
            }
        }
        switch server {
        case .tcp(let host, let port):
            return try await bootstrap.connect(host: host, port: port, channelInitializer: initialize)
        case .unixSocket(let path):
            return try await bootstrap.connect(unixDomainSocketPath: path, channelInitializer: initialize)
        }
    }

    private func addHandlers(
        to channel: any Channel, of server: RedisConfiguration.Endpoint, tls: NIOSSLContext?,
        onPush: RedisConnection.PushHandler?
    ) throws -> RedisConnection {
        let pipeline = channel.pipeline.syncOperations
        if let tls {
            try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: server.tlsHostname))
        }
        let connection = RedisConnection(channel: channel, endpoint: server.description, logger: logger, onPush: onPush)
        try pipeline.addHandler(RedisChannelHandler(connection: connection))
        return connection
    }

    /// Sends AUTH, SELECT and CLIENT SETNAME in one write. Throws the first error reply.
    private func logIn(_ connection: RedisConnection, limit: TimeLimit) async throws {
        var commands: [RedisCommand] = []
        if let password = configuration.password {
            let login = [configuration.username, password].compactMap { $0.map(RedisArgument.string) }
            commands.append(RedisCommand("AUTH", login))
        }
        if configuration.database != 0 {
            commands.append(RedisCommand("SELECT", RedisArgument(configuration.database)))
        }
        // Always sent, so that a server that requires a password refuses the login, not a caller's first command.
        commands.append(RedisCommand("CLIENT", "SETNAME", .string(configuration.clientName)))

        let replies = try await connection.execute(commands, limit: limit)
        for (command, reply) in zip(commands, replies) {
            guard let error = reply.error else { continue }
            // A connection works without its name: the ACL or a managed service may forbid CLIENT, and a busy server
            // must still accept SCRIPT KILL.
            guard command.name == "CLIENT", error.code != "NOAUTH" else { throw error }
            noteMissingName(error)
        }
    }

    /// Checks that the server is a primary. Sentinels may name one that was demoted, or is not promoted yet.
    private func checkRole(_ connection: RedisConnection, limit: TimeLimit) async throws {
        let reply = try await connection.execute(RedisCommand("ROLE"), limit: limit)
        guard let error = reply.error else { return try Self.check(role: reply.array?.first?.string, connection) }
        // ROLE is in the categories @admin and @dangerous, which a login may lack.
        guard error.code == "NOPERM" else { throw error }
        let info = try await connection.execute(RedisCommand("INFO", "replication"), limit: limit)
        guard let text = info.string else {
            return logger.debug(
                "this login may use neither ROLE nor INFO, so the primary is taken without a check",
                metadata: ["endpoint": "\(connection.endpoint)", "error": "\(error)"])
        }
        try Self.check(role: text.contains("role:slave") ? "slave" : "master", connection)
    }

    private static func check(role: String?, _ connection: RedisConnection) throws {
        if role == "master" { return }
        let found = role == "slave" ? "a Redis replica" : "no primary (its role is \(role ?? "unknown"))"
        throw RedisError(
            kind: .connectionFailed,
            message: "the sentinels name \(connection.endpoint) as the primary, but it is \(found)",
            endpoint: connection.endpoint)
    }

    private func noteMissingName(_ error: RedisError) {
        let isFirst = hasNoName.withLock { hasNoName in
            defer { hasNoName = true }
            return !hasNoName
        }
        guard isFirst else { return }
        logger.debug(
            "connections have no name in CLIENT LIST", metadata: ["endpoint": "\(endpoint)", "error": "\(error)"])
    }

    private func sharedTLSContext() throws -> NIOSSLContext? {
        guard configuration.tls else { return nil }
        return try tlsContext.withLock { context in
            if let context { return context }
            var tls = TLSConfiguration.makeClientConfiguration()
            if let caFile = configuration.caFile { tls.trustRoots = .file(caFile) }
            if !configuration.verifiesCertificates { tls.certificateVerification = .none }
            do {
                if let certificateFile = configuration.certificateFile, let keyFile = configuration.keyFile {
                    tls.certificateChain = try NIOSSLCertificate.fromPEMFile(certificateFile).map { .certificate($0) }
                    tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: keyFile, format: .pem))
                }
                let made = try NIOSSLContext(configuration: tls)
                context = made
                return made
            } catch {
                let files = [configuration.caFile, configuration.certificateFile, configuration.keyFile]
                    .compactMap { $0 }.joined(separator: ", ")
                let found = files.isEmpty ? "the system's certificates" : files
                throw RedisError(
                    kind: .invalidConfiguration, message: "cannot use \(found) for TLS with \(endpoint): \(error)",
                    endpoint: endpoint)
            }
        }
    }

    private func failed(_ reason: String, _ server: RedisConfiguration.Endpoint) -> RedisError {
        let shown = finder == nil ? endpoint : "\(server), the primary of \(endpoint)"
        return RedisError(kind: .connectionFailed, message: "cannot connect to \(shown): \(reason)", endpoint: endpoint)
    }
}

extension RedisConfiguration.Endpoint {
    /// The server name for TLS (SNI and verification). An IP address must not be sent as SNI (RFC 6066): nil then, and
    /// NIOSSL verifies the address itself.
    fileprivate var tlsHostname: String? {
        guard case .tcp(let host, _) = self else { return nil }
        // The initializer throws if the host is not an IP address: then it is a name.
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        return isAddress ? nil : host
    }
}

/// Returns the system's reason in words: `Connection refused (errno 111)`.
func describe(_ error: any Error) -> String {
    switch error {
    case let error as IOError:
        return "\(String(cString: strerror(error.errnoCode))) (errno \(error.errnoCode))"
    case let error as NIOConnectionError:
        if let dns = error.dnsAError ?? error.dnsAAAAError, error.connectionErrors.isEmpty {
            return "the host's name cannot be resolved: \(dns)"
        }
        let reasons = error.connectionErrors.map { describe($0.error) }
        return Set(reasons).sorted().joined(separator: ", ")
    case ChannelError.connectTimeout(let limit):
        return "no reply within \(limit.nanoseconds / 1_000_000) ms"
    case let error as RedisError:
        return error.message
    default:
        return "\(error)"
    }
}
