import RedisClient

/// What Redis says of its own work. The difference of two readings is what lay between them, plus the two readings:
/// some microseconds and a command.
struct RedisUsage: Sendable {
    /// Of the server process, all threads; children that rewrite the append-only file do not count.
    var cpuSeconds: Double
    /// Those that functions call inside included.
    var commands: Double
    var memoryBytes: Double

    static func read(_ client: RedisClient) async throws -> RedisUsage {
        let info = try await client.send(RedisCommand("INFO", "cpu", "stats", "memory")).string ?? ""
        var fields: [Substring: Double] = [:]
        for line in info.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2, let value = Double(parts[1]) { fields[parts[0]] = value }
        }
        guard let user = fields["used_cpu_user"], let system = fields["used_cpu_sys"],
            let commands = fields["total_commands_processed"], let memory = fields["used_memory"]
        else { throw Failure(.error, "INFO does not tell used_cpu_user, total_commands_processed and used_memory") }
        return RedisUsage(cpuSeconds: user + system, commands: commands, memoryBytes: memory)
    }
}

/// What one run of one operation cost.
struct BenchSample: Sendable {
    var perSecond: Double
    /// µs of Redis's CPU.
    var cpuMicroseconds: Double
    var commands: Double

    /// - Parameter count: how many tasks (or calls) `body` handles.
    static func measure(_ client: RedisClient, count: Int, _ body: () async throws -> Void) async throws -> BenchSample
    {
        let before = try await RedisUsage.read(client)
        let start = ContinuousClock.now
        try await body()
        let seconds = (ContinuousClock.now - start).seconds
        let after = try await RedisUsage.read(client)
        return BenchSample(
            perSecond: Double(count) / seconds,
            cpuMicroseconds: (after.cpuSeconds - before.cpuSeconds) * 1e6 / Double(count),
            // The first reading counts itself after it was taken.
            commands: (after.commands - before.commands - 1) / Double(count))
    }

    /// One after the other, for the same tasks.
    static func + (left: BenchSample, right: BenchSample) -> BenchSample {
        BenchSample(
            perSecond: 1 / (1 / left.perSecond + 1 / right.perSecond),
            cpuMicroseconds: left.cpuMicroseconds + right.cpuMicroseconds, commands: left.commands + right.commands)
    }

    /// Each figure by itself: the median of the runs.
    static func median(_ samples: [BenchSample]) -> BenchSample {
        BenchSample(
            perSecond: median(samples.map(\.perSecond)), cpuMicroseconds: median(samples.map(\.cpuMicroseconds)),
            commands: median(samples.map(\.commands)))
    }

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
