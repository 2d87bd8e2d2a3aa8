import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle
import Switchyard

/// The scheduler over HTTP: JSON, problem+json, server-sent events, and a dashboard.
///
/// It holds no state: any number may serve the same Redis. Shutting down gracefully answers the requests that have
/// begun (long polls at once, with what is known), ends the event streams, and accepts no more.
public struct HTTPServer: Service {
    private let api: API
    private let logger: Logger
    private let onListening: (@Sendable (Int) async -> Void)?

    /// - Parameters:
    ///   - scheduler: run by its owner; the server only asks it for handles and its health.
    ///   - onListening: called once with the port, as soon as requests are answered.
    public init(
        scheduler: TaskScheduler, options: HTTPServerOptions = HTTPServerOptions(),
        logger: Logger = Logger(label: "switchyard.http"), onListening: (@Sendable (Int) async -> Void)? = nil
    ) {
        self.api = API(scheduler: scheduler, options: options, logger: logger)
        self.logger = logger
        self.onListening = onListening
    }

    /// Serves until cancelled, or until its service group shuts down.
    /// - Throws: when it cannot listen.
    public func run() async throws {
        try await application.run()
    }

    /// NIO's bounds are larger; nobody sends us headers of this size in earnest.
    private static let maxHeaderBytes = 32 << 10

    private var application: some ApplicationProtocol {
        let options = api.options
        let onListening = onListening
        return Application(
            router: api.routes.router(),
            server: .http1(
                configuration: .init(
                    idleTimeout: .milliseconds(Int64(options.idleTimeout.milliseconds)),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: Self.maxHeaderBytes, maxHeaderListSize: Self.maxHeaderBytes,
                        maxHeaderFieldCount: 100))),
            configuration: .init(
                address: .hostname(options.host, port: options.port), serverName: "switchyard",
                availableConnectionsDelegate: MaximumAvailableConnections(options.maxConnections)),
            onServerRunning: { channel in await onListening?(channel.localAddress?.port ?? options.port) },
            logger: logger)
    }
}
