import Logging
import RedisClient
import ServiceLifecycle
import Switchyard
import SwitchyardWorker

/// The worker process of the workload's tasks without a command.
package enum TortureWorker {
    /// Runs until SIGTERM.
    package static func run(
        id: String, queue: String, redis: RedisConfiguration?, journal: String, logger: Logger
    ) async throws {
        guard let redis else { throw TortureError("expected the URL of Redis in SWITCHYARD_REDIS") }
        let client = RedisClient(redis, logger: logger)
        var options = WorkerOptions(slots: 32)
        options.labels = ["runs=handlers"]
        options.cpu = Double(TorturePlan.cores)
        let worker = try Worker(
            id: id, queue: queue, partitions: Partitions(client), options: options,
            handler: TortureHandler(journal: journal), logger: logger)
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(
                        service: worker, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .cancelGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        let result: Result<Void, any Error>
        do {
            result = .success(try await group.run())
        } catch {
            result = .failure(error)
        }
        await client.shutdown()
        try result.get()
    }
}
