import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle
import Switchyard

/// The scheduler over HTTP: JSON, problem+json, server-sent events, and a dashboard.
///
/// It keeps no state that matters (only caches of about a second), so any number of servers may share a Redis. On
/// graceful shutdown it accepts no more requests, completes those that have begun (a long poll returns at once, with
/// the task as it was when the request came), and ends the event streams.
public struct HTTPServer: Service {
    private let api: API
    private let logger: Logger
    private let onListening: (@Sendable (Int) async -> Void)?

    /// - Parameters:
    ///   - scheduler: the scheduler to serve. Its owner runs it; the server does not start or stop it.
    ///   - onListening: called once, with the port, when the server accepts requests.
    public init(
        scheduler: TaskScheduler, options: HTTPServerOptions = HTTPServerOptions(),
        logger: Logger = Logger(label: "switchyard.http"), onListening: (@Sendable (Int) async -> Void)? = nil
    ) {
        self.api = API(scheduler: scheduler, options: options, logger: logger)
        self.logger = logger
        self.onListening = onListening
    }

    /// Serves until the task is cancelled or the service group shuts down.
    /// - Throws: if it cannot listen at its address.
    public func run() async throws {
        try await application.run()
    }

    /// Limit on one header field, and on all of them. NIO's limits are larger than any client needs.
    private static let maxHeaderBytes = 32 << 10

    /// Connections that the system keeps for us until we accept them.
    private static let backlog = 1024

    private var application: some ApplicationProtocol {
        let options = api.options
        let onListening = onListening
        let connections = api.connections
        let firstHeadTimeout = TimeAmount.milliseconds(Int64(options.headTimeout.milliseconds))
        return Application(
            router: api.routes.router(
                HostMiddleware(listeningHost: options.host, allowed: options.allowedHosts),
                LargeBodyMiddleware(bodies: api.largeBodies, maxBytes: options.maxBodyBytes)),
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [
                        ConnectionHandler(connections: connections, firstHeadTimeout: firstHeadTimeout)
                    ],
                    idleTimeout: .milliseconds(Int64(options.idleTimeout.milliseconds)),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: Self.maxHeaderBytes, maxHeaderListSize: Self.maxHeaderBytes,
                        maxHeaderFieldCount: 100))),
            configuration: .init(
                address: .hostname(options.host, port: options.port), serverName: "switchyard",
                backlog: Self.backlog,
                availableConnectionsDelegate: MaximumAvailableConnections(connections.limits.accepted)),
            onServerRunning: { channel in await onListening?(channel.localAddress?.port ?? options.port) },
            logger: logger)
    }
}
