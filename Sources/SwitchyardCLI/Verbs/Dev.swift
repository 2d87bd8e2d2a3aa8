import ArgumentParser
import Foundation
import Logging
import RedisClient
import ServiceLifecycle
import Switchyard

/// Runs everything in one process tree.
///
/// It starts redis-server, then the replica with HTTP, then the workers, and stops them in the reverse order, so that a
/// draining worker can still report. A failure of any of them ends the others.
struct Dev: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run everything on this machine: Redis, a replica, workers and the dashboard.",
        discussion: """
            Everything is one process tree, which Ctrl-C, SIGTERM or closing the terminal ends. The data stays in \
            --data for the next start, unless --ephemeral is given. The workers share the cores and the memory of \
            this machine equally.
            """)

    @OptionGroup var options: RunOptions
    @OptionGroup var redis: RedisOptions
    @OptionGroup var listening: ListenOptions

    @Flag(help: "Keep no data on disk.")
    var ephemeral = false

    @Option(help: ArgumentHelp("The number of worker processes.", valueName: "n"))
    var workers = 2

    @Option(help: ArgumentHelp("The number of tasks that each worker runs at once.", valueName: "n"))
    var slots = 1

    @Flag(help: "The workers offer no cores, memory and labels.")
    var noDetect = false

    @OptionGroup(title: "Scheduler Settings") var scheduler: SchedulerOptions

    func validate() throws {
        guard (0...100).contains(workers) else {
            throw ValidationError("--workers: expected 0 to 100, found \(workers)")
        }
        guard (1...1000).contains(slots) else { throw ValidationError("--slots: expected 1 to 1000, found \(slots)") }
        if ephemeral, redis.redis != nil { throw ValidationError("expected --ephemeral or --redis, found both") }
    }

    func run() async throws {
        let settings = try await options.start(redis.flags, listening.flags, scheduler.flags)
        let address = try ListenAddress(settings.text(.listen), allowPublic: settings.isSet(.insecurePublic))
        let redis = try await RedisForServing.open(settings, ephemeral: ephemeral)
        try await redis.closing {
            try await serve(settings, address, redis)
        }
    }

    private func serve(_ settings: EffectiveSettings, _ address: ListenAddress, _ redis: RedisForServing) async throws {
        let logger = Logger(label: "switchyard.dev")
        Orphans.adopt(logger: logger)
        let banner = Banner(
            queue: settings.text(.queue), redis: redis, workers: workers, slots: slots, isEphemeral: ephemeral)
        let replica = try Replica(settings, address: address, partitions: redis.partitions) { port in
            // stdout may be closed; the services do not need it.
            try? Console.out.write(banner.text(url: address.url(port: port)))
        }
        let pool = WorkerPool(
            ids: (0..<workers).map { "dev-\($0 + 1)" },
            arguments: [
                ProgramPath.current, "worker", "--queue", settings.text(.queue),
                "--slots", "\(slots)", "--log-level", settings.text(.logLevel), "--log-format",
                settings.text(.logFormat),
            ] + (noDetect ? ["--no-detect"] : HostDetection.current().share(of: workers).arguments)
                + RedisOptions.arguments(redis.partitions),
            environment: redis.environment, logger: logger)
        try await replica.run(with: redis.services + [pool], logger: logger)
    }
}

/// The text that `dev` prints when it listens.
private struct Banner: Sendable {
    let queue: String
    let redis: RedisForServing
    let workers: Int
    let slots: Int
    let isEphemeral: Bool

    func text(url: String) -> String {
        let data =
            redis.directory.map { isEphemeral ? "no data is kept" : "data in \($0)" }
            ?? "Redis \(redis.configurations.map(\.description).joined(separator: ", "))"
        let pool = "\(workers) worker\(workers == 1 ? "" : "s") with \(slots) slot\(slots == 1 ? "" : "s") each"
        let key = "switchyard:{\(queue)}:stats"
        let server = url == "http://127.0.0.1:8080" ? "" : " --server \(url)"
        let submit = "switchyard submit\(server)" + (queue == "default" ? "" : " --queue \(queue)")
        return """
            Switchyard is running: \(url)
              \(pool), queue \(queue), \(data). Ctrl-C ends everything.

            Try:
              \(submit) --wait -- echo hello
              curl -s \(url)/scheduler/task -H 'content-type: application/json' -d '{"command":["echo","hello"]}'
              \(redis.commandLine) hgetall '\(key)'

            """
    }
}
