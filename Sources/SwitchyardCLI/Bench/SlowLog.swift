import RedisClient

/// Which function calls held Redis, and for how long, as its SLOWLOG tells it: by the clock. That counts what others had of the
/// core in the middle of a call, and on a busy or virtual machine those are the slowest; so it is watched several times, and
/// the slowest of the other commands, among them those that functions call, stands beside it.
struct SlowLog: Sendable {
    var seconds: Double
    /// Of functions.
    var calls: Double
    /// The slowest call of each function, in ms; of those that took longer than `threshold`.
    var slowest: [String: Double] = [:]
    var overBound = 0
    /// The slowest command that is no call of a function, with its name.
    var other: (name: String, milliseconds: Double)?

    /// What no call may take, in ms.
    static let bound = 5.0
    private static let threshold = 500

    /// For the redis-server: to keep every call that takes more than half a millisecond.
    static let serverArguments = ["--slowlog-log-slower-than", "\(threshold)", "--slowlog-max-len", "1000000"]

    /// What Redis did while `body` ran.
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

    /// An entry: its number, when it was, µs, and the command's first arguments.
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
            // Ours, which frees or reads all that was kept.
            break
        case let name:
            if milliseconds > other?.milliseconds ?? 0 { other = (name, milliseconds) }
        }
    }

    /// Of all runs of one situation.
    /// - Parameter name: of the situation, in the JSON.
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
