import Foundation
import Logging
import NIOCore
import RedisClient
import ServiceLifecycle
import Switchyard
import SwitchyardHTTP

/// A replica as services: the scheduler, the HTTP server, and what a command runs beside them. SIGINT and SIGTERM end
/// the last one first.
struct Replica: Sendable {
    let scheduler: TaskScheduler
    let http: HTTPServer
    private let address: ListenAddress

    init(
        _ settings: EffectiveSettings, address: ListenAddress, partitions: Partitions,
        onListening: @escaping @Sendable (Int) async -> Void
    ) throws {
        self.address = address
        scheduler = try TaskScheduler(
            partitions: partitions, queues: [settings.text(.queue)], config: settings.schedulerConfig,
            logger: Logger(label: "switchyard.scheduler"))
        var options = HTTPServerOptions()
        options.host = address.host
        options.port = address.port
        options.defaultQueue = settings.text(.queue)
        http = HTTPServer(
            scheduler: scheduler, options: options, logger: Logger(label: "switchyard.http"), onListening: onListening)
    }

    /// How long a graceful shutdown may take before what is left is cancelled.
    private static let grace: Duration = .seconds(10)

    /// Until a signal comes, or one of the services fails.
    func run(with more: [any Service] = [], logger: Logger) async throws {
        var configuration = ServiceGroupConfiguration(
            services: ([scheduler, http] + more).map { .init(service: $0) },
            gracefulShutdownSignals: [.sigint, .sigterm],
            logger: logger)
        configuration.maximumGracefulShutdownDuration = Self.grace
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as IOError {
            throw Failure(.error, cannotListen(error))
        }
    }

    private func cannotListen(_ error: IOError) -> String {
        let place = "\(address.host):\(address.port)"
        return switch error.errnoCode {
        case EADDRINUSE:
            "\(place) is in use by another program: end it, or choose another port with --listen \(address.host):PORT"
        case EACCES: "\(place): not allowed to listen there; ports below 1024 are for root"
        case EADDRNOTAVAIL: "\(place): this machine has no such address"
        default: "cannot listen on \(place): \(String(cString: strerror(error.errnoCode)))"
        }
    }
}
