import RedisClient

/// Which function calls held Redis, and for how long, as its SLOWLOG tells it: by the clock. On a busy machine that counts
/// what others had of the core in the middle of a call, so the slowest of the other commands stands beside it.
struct SlowLog: Sendable {
    var seconds: Double
    /// Of functions.
    var calls: Double
    /// The slowest call of each function, in ms; of those that took longer than `threshold`.
    var slowest: [String: Double] = [:]
    var overBound = 0
    /// The slowest command that is no function call, with its name.
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

    /// - Parameter name: of the situation, in the JSON.
    func figures(_ name: String, _ label: String) -> [Figure] {
        let path = ["bounds", name]
        let worst = slowest.max { $0.value < $1.value }
        let above = overBound == 0 ? "none" : "\(overBound)"
        let beside = other.map { "; \($0.name) \(Figure.Unit.milliseconds.text($0.milliseconds))" } ?? ""
        return [
            Figure(
                path + ["slowest_ms"], label, .milliseconds, [worst?.value ?? 0],
                note: "\(worst?.key ?? "all below"); \(above) of \(Figure.Unit.grouped(calls)) calls above "
                    + "\(Int(Self.bound)) ms, in \(Figure.Unit.digits(seconds)) s\(beside)"),
            Figure(path + ["seconds"], nil, .count, [seconds]),
            Figure(path + ["calls"], nil, .count, [calls]),
            Figure(path + ["over_bound"], nil, .count, [Double(overBound)]),
            Figure(path + ["other_ms"], nil, .milliseconds, [other?.milliseconds ?? 0]),
        ]
            + slowest.sorted { $0.key < $1.key }.map {
                Figure(path + ["functions_ms", $0.key], nil, .milliseconds, [$0.value])
            }
    }
}
