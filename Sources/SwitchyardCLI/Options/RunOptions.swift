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

    var flags: [String: String] {
        var flags: [String: String] = [:]
        if let queue { flags[Setting.queue.name] = queue }
        if let logLevel { flags[Setting.logLevel.name] = logLevel }
        if let logFormat { flags[Setting.logFormat.name] = logFormat }
        return flags
    }

    /// Returns the effective settings, sets up logging accordingly, and raises the limit on open files. Call it once in
    /// a process.
    func start(_ more: [String: String]...) async throws -> EffectiveSettings {
        OpenFiles.raiseLimit()
        let settings = try await settings(more)
        LogFormat.bootstrap(settings.logFormat, level: settings.logLevel)
        return settings
    }

    func settings(_ more: [[String: String]]) async throws -> EffectiveSettings {
        let all = more.reduce(flags) { $0.merging($1) { _, new in new } }
        return try await EffectiveSettings(flags: all, file: config)
    }
}

/// Where Redis is, for the subcommands that connect to it.
struct RedisOptions: ParsableArguments {
    @Option(
        name: .customLong("redis"),
        help: ArgumentHelp(
            "Redis: redis://, rediss:// or unix:///path (SWITCHYARD_REDIS, which is the place for a password: every "
                + "user can read flags); repeat it to spread each queue over several servers.", valueName: "url"))
    var instances: [String] = []

    @Option(
        help: ArgumentHelp(
            "How many partitions each queue has (default one for each Redis server).", valueName: "n"))
    var partitions: Int?

    /// The URLs in the form of SWITCHYARD_REDIS, separated by commas; nil if none was given.
    var redis: String? { instances.isEmpty ? nil : instances.joined(separator: ",") }

    var flags: [String: String] {
        var flags: [String: String] = redis.map { [Setting.redis.name: $0] } ?? [:]
        if let partitions { flags[Setting.partitions.name] = "\(partitions)" }
        return flags
    }

    /// The arguments that make another `switchyard` process use the same partitions.
    static func arguments(_ partitions: Partitions) -> [String] {
        partitions.count > 1 ? ["--partitions", "\(partitions.count)"] : []
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

    var flags: [String: String] {
        var flags: [String: String] = [:]
        if let listen { flags[Setting.listen.name] = listen }
        if !allowedHost.isEmpty { flags[Setting.allowedHost.name] = allowedHost.joined(separator: ",") }
        if let data { flags[Setting.data.name] = data }
        if insecurePublic { flags[Setting.insecurePublic.name] = "true" }
        return flags
    }
}
