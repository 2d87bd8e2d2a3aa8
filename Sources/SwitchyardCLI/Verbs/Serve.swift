import ArgumentParser
import Logging
import RedisClient
import ServiceLifecycle
import Switchyard
import SwitchyardHTTP

/// Runs one replica. It also starts while Redis is unreachable, because containers start in any order: it reports that
/// in its log and its health, and works as soon as Redis is reachable.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a replica: the HTTP interface, and the ticks that process what is due.",
        discussion: """
            Any number of replicas may share a Redis server, or several servers over which queues are spread. Without \
            --redis or SWITCHYARD_REDIS it starts a private redis-server, which keeps its data in --data. SIGINT, \
            SIGTERM and SIGHUP end it gracefully.
            """)

    @OptionGroup var options: RunOptions
    @OptionGroup var redis: RedisOptions
    @OptionGroup var listening: ListenOptions
    @OptionGroup(title: "Scheduler Settings") var scheduler: SchedulerOptions

    func run() async throws {
        let settings = try await options.start(redis.flags, listening.flags, scheduler.flags)
        let address = try ListenAddress(settings.text(.listen), allowPublic: settings.isSet(.insecurePublic))
        let logger = Logger(label: "switchyard.serve")
        let redis = try await RedisForServing.open(settings, ephemeral: false)
        try await redis.closing {
            try await Self.serve(settings, address, redis, logger)
        }
    }

    private static func serve(
        _ settings: EffectiveSettings, _ address: ListenAddress, _ redis: RedisForServing, _ logger: Logger
    ) async throws {
        let replica = try Replica(settings, address: address, partitions: redis.partitions) { port in
            logger.notice("listening", metadata: ["url": "\(address.url(port: port))"])
        }
        try await replica.run(with: redis.services, logger: logger)
    }
}
