import Foundation
import Logging
import NIOCore
import RedisClient
import ServiceLifecycle
import Switchyard
import SwitchyardHTTP

/// A replica as a group of services: the scheduler, the HTTP server, and further services of the command. SIGINT,
/// SIGTERM and SIGHUP shut them down in the reverse order.
struct Replica: Sendable {
    let scheduler: TaskScheduler
    let http: HTTPServer
    private let address: ListenAddress

    /// - Parameter onListening: called with the port once HTTP is served and Redis was looked at; not if the replica
    ///   refuses that Redis.
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
        options.allowedHosts = settings.text(.allowedHost).split { $0 == "," || $0 == " " }.map(String.init)
        options.defaultQueue = settings.text(.queue)
        http = HTTPServer(
            scheduler: scheduler, options: options, logger: Logger(label: "switchyard.http"),
            onListening: { [scheduler] port in
                // Beside the requests, which are served meanwhile.
                Task { if await scheduler.waitUntilLookedAt() { await onListening(port) } }
            })
    }

    /// Limit on a graceful shutdown, after which the remaining services are cancelled.
    private static let grace: Duration = .seconds(15)

    /// Returns after a signal has ended the services; throws if a service fails.
    /// - Throws: ``Failure`` if HTTP cannot listen on the address.
    func run(with more: [any Service] = [], logger: Logger) async throws {
        var configuration = ServiceGroupConfiguration(
            services: ([scheduler, http] + more).map { .init(service: $0) },
            logger: logger)
        configuration.endOnSignals()
        configuration.maximumGracefulShutdownDuration = Self.grace
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as IOError {
            throw Failure(.error, cannotListen(error))
        }
    }

    private func cannotListen(_ error: IOError) -> String {
        let shown = "\(address.host):\(address.port)"
        return switch error.errnoCode {
        case EADDRINUSE:
            "\(shown) is in use by another program: end it, or choose another port with --listen \(address.host):PORT"
        case EACCES: "\(shown): not allowed to listen there; ports below 1024 are for root"
        case EADDRNOTAVAIL: "\(shown): this machine has no such address"
        default: "cannot listen on \(shown): \(String(cString: strerror(error.errnoCode)))"
        }
    }
}
