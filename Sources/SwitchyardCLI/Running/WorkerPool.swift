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

    /// Seconds for a worker to finish its tasks at shutdown. Tasks that take longer are handed back, and run again
    /// after the next start.
    private static let drainTimeout = 2
    /// After this time at shutdown a worker is killed: the drain timeout, the grace of the tasks, and some time to
    /// report. The replica waits a little longer.
    private static let grace: Duration = .seconds(9)

    func run() async throws {
        let workers = ids.map {
            SupervisedWorker(
                label: $0, arguments: arguments + ["--drain-timeout", "\(Self.drainTimeout)", "--id", $0],
                environment: environment, grace: Self.grace, logger: logger)
        }
        try await Interruption.noticingRepetition {
            for worker in workers { worker.handBack() }
        } _: {
            try await run(workers)
        }
    }

    private func run(_ workers: [SupervisedWorker]) async throws {
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
