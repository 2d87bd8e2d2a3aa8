import ArgumentParser
import ChildProcess
import Foundation
import Logging
import Switchyard

/// Options of every command that runs something: the configuration file, logging, and the queue.
struct RunOptions: ParsableArguments {
    @Option(help: ArgumentHelp("A JSON file with settings (SWITCHYARD_CONFIG).", valueName: "path"))
    var config: String?

    @Option(help: ArgumentHelp("The queue (default default).", valueName: "name"))
    var queue: String?

    @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel: String?

    @Option(help: ArgumentHelp("text or json; logs go to stderr.", valueName: "format"))
    var logFormat: String?

    var flags: [Setting: Setting.Value] {
        var flags: [Setting: Setting.Value] = [:]
        if let queue { flags[.queue] = .text(queue) }
        if let logLevel { flags[.logLevel] = .text(logLevel) }
        if let logFormat { flags[.logFormat] = .text(logFormat) }
        return flags
    }

    /// Returns the effective settings, sets up logging accordingly, and raises the limit on open files. Call it once in
    /// a process.
    func start(_ more: [Setting: Setting.Value]...) async throws -> EffectiveSettings {
        OpenFiles.raiseLimit()
        let settings = try await settings(more)
        LogFormat.bootstrap(settings.logFormat, level: settings.logLevel)
        return settings
    }

    func settings(_ more: [[Setting: Setting.Value]]) async throws -> EffectiveSettings {
        let all = more.reduce(flags) { $0.merging($1) { _, new in new } }
        return try await EffectiveSettings(flags: all, file: config)
    }
}

/// Where Redis is, for the subcommands that connect to it.
struct RedisOptions: ParsableArguments {
    @Option(
        name: .customLong("redis"),
        help: ArgumentHelp(
            "Redis: redis://, rediss:// or unix:///path (SWITCHYARD_REDIS); repeat it to spread each queue over "
                + "several servers.", valueName: "url"))
    var instances: [String] = []

    @Option(
        help: ArgumentHelp(
            "How many partitions each queue has (default one for each Redis server).", valueName: "n"))
    var partitions: Int?

    /// The URLs in the form of SWITCHYARD_REDIS, separated by commas; nil if none was given.
    var redis: String? { instances.isEmpty ? nil : instances.joined(separator: ",") }

    var flags: [Setting: Setting.Value] {
        var flags: [Setting: Setting.Value] = redis.map { [.redis: .text($0)] } ?? [:]
        if let partitions { flags[.partitions] = .count(partitions) }
        return flags
    }

    /// The arguments that make another `switchyard` process use the same Redis servers and partitions.
    static func arguments(_ urls: [String], _ partitions: Partitions) -> [String] {
        urls.flatMap { ["--redis", $0] } + (partitions.count > 1 ? ["--partitions", "\(partitions.count)"] : [])
    }
}

/// How a replica listens, and where its private redis-server keeps its data.
struct ListenOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where HTTP listens (default 127.0.0.1:8080); port 0 selects a free port.", valueName: "host:port"))
    var listen: String?

    @Option(
        help: ArgumentHelp(
            "A name of the replica for clients, besides localhost and IP addresses (repeatable; * allows all).",
            valueName: "name"))
    var allowedHost: [String] = []

    @Option(help: ArgumentHelp("The private redis-server's directory (default ./.switchyard).", valueName: "path"))
    var data: String?

    @Flag(
        help: ArgumentHelp(
            "Allow an address that other machines can reach (SWITCHYARD_INSECURE_PUBLIC=1).",
            discussion: "There is no authentication: anyone who reaches the port can run commands on the workers."))
    var insecurePublic = false

    var flags: [Setting: Setting.Value] {
        var flags: [Setting: Setting.Value] = [:]
        if let listen { flags[.listen] = .text(listen) }
        if !allowedHost.isEmpty { flags[.allowedHost] = .text(allowedHost.joined(separator: ",")) }
        if let data { flags[.data] = .text(data) }
        if insecurePublic { flags[.insecurePublic] = .flag(true) }
        return flags
    }
}

/// The scheduler's settings. A replica writes those that differ from the defaults to the queue when it starts.
struct SchedulerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Limit on pending tasks (default 500).", valueName: "n"))
    var maxQueueLength: Int?

    @Option(help: ArgumentHelp("Default time limit of an attempt (default 7200).", valueName: "seconds"))
    var defaultTaskTimeout: Seconds?

    @Option(help: ArgumentHelp("Default number of retries of a task (default 2).", valueName: "n"))
    var defaultMaxRetries: Int?

    @Option(help: ArgumentHelp("Limit on the pause between two ticks (default 500).", valueName: "ms"))
    var schedulerIntervalMs: Int?

    @Option(help: ArgumentHelp("Limit on the delay in deleting ended tasks (default 300).", valueName: "seconds"))
    var cleanupInterval: Seconds?

    @Option(help: ArgumentHelp("How long ended tasks are kept (default 7200).", valueName: "seconds"))
    var completedTaskRetention: Seconds?

    @Option(help: ArgumentHelp("Limit on the ended tasks that are kept; 0: no limit (default 0).", valueName: "n"))
    var maxFinished: Int?

    @Option(help: ArgumentHelp("How long a lease lasts without a heartbeat (default 15).", valueName: "seconds"))
    var lease: Seconds?

    @Option(help: ArgumentHelp("Time between heartbeats (default 5).", valueName: "seconds"))
    var heartbeat: Seconds?

    @Option(help: ArgumentHelp("How long a pulled task may remain unstarted (default 15).", valueName: "seconds"))
    var assignTimeout: Seconds?

    @Option(help: ArgumentHelp("Pulls without a start before a task fails (default 5).", valueName: "n"))
    var maxDeliveries: Int?

    @Option(help: ArgumentHelp("Backoff before the first retry; it doubles (default 1).", valueName: "seconds"))
    var retryDelay: Seconds?

    @Option(help: ArgumentHelp("Limit on the backoff before a retry (default 300).", valueName: "seconds"))
    var retryDelayMax: Seconds?

    @Option(help: ArgumentHelp("Jitter: a backoff varies by ± this much (default 20).", valueName: "percent"))
    var retryJitterPercent: Int?

    @Option(help: ArgumentHelp("Limit on the chunks of output that a task's log keeps (default 1000).", valueName: "n"))
    var logMaxEntries: Int?

    var flags: [Setting: Setting.Value] {
        let counts: [(Setting, Int?)] = [
            (.maxQueueLength, maxQueueLength), (.defaultMaxRetries, defaultMaxRetries),
            (.schedulerIntervalMS, schedulerIntervalMs), (.maxDeliveries, maxDeliveries),
            (.retryJitterPercent, retryJitterPercent), (.logMaxEntries, logMaxEntries), (.maxFinished, maxFinished),
        ]
        let durations: [(Setting, Seconds?)] = [
            (.defaultTaskTimeout, defaultTaskTimeout), (.cleanupInterval, cleanupInterval),
            (.completedTaskRetention, completedTaskRetention), (.lease, lease), (.heartbeat, heartbeat),
            (.assignTimeout, assignTimeout), (.retryDelay, retryDelay), (.retryDelayMax, retryDelayMax),
        ]
        var flags: [Setting: Setting.Value] = [:]
        for case (let setting, let value?) in counts { flags[setting] = .count(value) }
        for case (let setting, let value?) in durations { flags[setting] = .seconds(value.value) }
        return flags
    }
}
