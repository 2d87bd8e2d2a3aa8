import Logging
import ServiceLifecycle

/// The worker processes of `switchyard dev`: a fixed number, drained at shutdown.
struct WorkerPool: Service {
    let ids: [String]
    /// The command of a worker, apart from its id.
    let arguments: [String]
    let logger: Logger

    /// What a worker gets at shutdown to finish what it runs; tasks that take longer run again at the next start.
    private static let grace: Duration = .seconds(4)

    func run() async throws {
        let workers = ids.map {
            SupervisedWorker(label: $0, arguments: arguments + ["--id", $0], grace: Self.grace, logger: logger)
        }
        await withTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { await worker.run() } }
            // A pool without workers stays too: a service that ends would end its group. Throws only when cancelled.
            group.addTask { try? await gracefulShutdown() }
            await withGracefulShutdownHandler {
                await group.waitForAll()
            } onGracefulShutdown: {
                for worker in workers { worker.drain() }
            }
        }
    }
}
