import RedisClient

/// The slowest function calls in Redis's SLOWLOG.
///
/// SLOWLOG measures wall-clock time, which includes the time that other processes had the core during a call. On a busy
/// or virtual machine such calls are the slowest. For comparison the log also has the slowest command that is not a
/// function call, including the commands that functions call.
struct SlowLog: Sendable {
    /// How long the log was watched.
    var seconds: Double
    /// Function calls.
    var calls: Double
    /// The slowest call of each function, in ms, among the calls slower than ``threshold``.
    var slowest: [String: Double] = [:]
    /// Function calls slower than ``bound``.
    var overBound = 0
    /// The slowest command that is not a function call.
    var other: (name: String, milliseconds: Double)?

    /// The bound that every function call should keep, in ms.
    static let bound = 5.0
    /// The least duration of an entry, in µs.
    private static let threshold = 500

    /// Arguments for a redis-server whose SLOWLOG keeps every command that takes longer than ``threshold``.
    static let serverArguments = ["--slowlog-log-slower-than", "\(threshold)", "--slowlog-max-len", "1000000"]

    /// Runs `body` and returns the SLOWLOG of that time.
    static func watch(_ client: RedisClient, _ body: () async throws -> Void) async throws -> SlowLog {
        _ = try await client.send(RedisCommand("CONFIG", "RESETSTAT"))
        _ = try await client.send(RedisCommand("SLOWLOG", "RESET"))
        let start = ContinuousClock.now
        try await body()
        var log = SlowLog(seconds: (ContinuousClock.now - start).seconds, calls: 0)
        let stats = try await RedisUsage.info(client, "commandstats")
        log.calls =
            stats["cmdstat_fcall"].flatMap { $0.firstMatch(of: #/calls=(\d+)/#) }.flatMap { Double($0.1) } ?? 0
        for entry in try await client.send(RedisCommand("SLOWLOG", "GET", "-1")).array ?? [] { log.add(entry) }
        return log
    }

    /// Adds an entry of SLOWLOG GET: id, time, µs, and the command's first arguments.
    private mutating func add(_ entry: RESPValue) {
        let fields = entry.array ?? []
        guard fields.count > 3, let microseconds = fields[2].int, let command = fields[3].array?.first?.string else {
            return
        }
        let milliseconds = Double(microseconds) / 1000
        let words = fields[3].array ?? []
        switch command.lowercased() {
        case "fcall", "fcall_ro":
            let name = (words.dropFirst().first?.string ?? "").replacing("switchyard_", with: "")
            slowest[name] = max(slowest[name] ?? 0, milliseconds)
            if milliseconds > Self.bound { overBound += 1 }
        case "slowlog":
            // The benchmark's own SLOWLOG commands, which free or read all entries.
            break
        case let name:
            if milliseconds > other?.milliseconds ?? 0 { other = (name, milliseconds) }
        }
    }

    /// Returns the figures for all runs of one situation.
    /// - Parameter name: the situation's name in the JSON.
    static func figures(_ name: String, _ label: String, _ runs: [SlowLog]) -> [Figure] {
        let path = ["bounds", name]
        let worst = runs.flatMap(\.slowest).max { $0.value < $1.value }
        let other = runs.compactMap(\.other).max { $0.milliseconds < $1.milliseconds }
        let above = runs.reduce(0) { $0 + $1.overBound }
        let calls = Figure.Unit.grouped(runs.reduce(0) { $0 + $1.calls })
        let seconds = Figure.median(runs.map(\.seconds))
        let beside = other.map { "; \($0.name) \(Figure.Unit.milliseconds.text($0.milliseconds))" } ?? ""
        let functions = Set(runs.flatMap(\.slowest.keys)).sorted()
        return [
            Figure(
                path + ["slowest_ms"], label, .milliseconds, runs.map { $0.slowest.values.max() ?? 0 },
                note: "\(worst?.key ?? "all below"); \(above == 0 ? "none" : "\(above)") of \(calls) calls above "
                    + "\(Int(bound)) ms, in \(Figure.Unit.digits(seconds)) s\(beside)"),
            Figure(path + ["seconds"], nil, .count, runs.map(\.seconds)),
            Figure(path + ["calls"], nil, .count, runs.map(\.calls)),
            Figure(path + ["above_\(Int(bound))_ms"], nil, .count, runs.map { Double($0.overBound) }),
            Figure(path + ["other_ms"], nil, .milliseconds, runs.map { $0.other?.milliseconds ?? 0 }),
        ]
            + functions.map { function in
                Figure(
                    path + ["functions_ms", function], nil, .milliseconds, runs.map { $0.slowest[function] ?? 0 })
            }
    }
}
