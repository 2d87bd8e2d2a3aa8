import Logging
import ServiceLifecycle

/// The worker processes of `switchyard dev`: a fixed number, drained at shutdown.
struct WorkerPool: Service, CustomStringConvertible {
    let ids: [String]
    /// The command of a worker, without its `--id`.
    let arguments: [String]
    /// The environment of a worker.
    let environment: [String: String]
    let logger: Logger

    /// Service groups log their services: not the environment, which has Redis's password.
    var description: String { "WorkerPool(\(ids.joined(separator: ", ")))" }

    /// Time for a worker to finish its tasks at shutdown. A task that takes longer is run again after the next start.
    private static let grace: Duration = .seconds(4)

    func run() async throws {
        let workers = ids.map {
            SupervisedWorker(
                label: $0, arguments: arguments + ["--id", $0], environment: environment, grace: Self.grace,
                logger: logger)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { try await worker.run() } }
            // Keeps a pool without workers running: a service that returns would end its group. gracefulShutdown()
            // throws only when cancelled.
            group.addTask { try? await gracefulShutdown() }
            try await withGracefulShutdownHandler {
                // waitForAll would wait for the other workers too, which do not end, before it throws.
                while try await group.next() != nil {}
            } onGracefulShutdown: {
                for worker in workers { worker.drain() }
            }
        }
    }
}
