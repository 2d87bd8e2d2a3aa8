import RedisClient

/// Counters of Redis's own work, from INFO.
///
/// The difference of two readings is the work between them, plus some ten µs and one command for reading.
struct RedisUsage: Sendable {
    /// Processor time of the server process, all threads. Child processes that rewrite the append-only file do not
    /// count.
    var cpuSeconds: Double
    /// Wall-clock time inside functions. It can exceed their processor time on a busy machine.
    var functionSeconds: Double
    /// Commands executed, including those that functions call.
    var commands: Double

    static func read(_ client: RedisClient) async throws -> RedisUsage {
        let fields = try await info(client, "cpu", "commandstats")
        guard let user = fields["used_cpu_user"].flatMap(Double.init),
            let system = fields["used_cpu_sys"].flatMap(Double.init)
        else { throw BenchError("INFO lacks used_cpu_user and used_cpu_sys") }
        var usage = RedisUsage(cpuSeconds: user + system, functionSeconds: 0, commands: 0)
        // cmdstat_fcall:calls=3,usec=120,usec_per_call=40.00,…
        for (name, value) in fields where name.hasPrefix("cmdstat_") {
            let parts = value.split(separator: ",")
            func number(_ name: String) -> Double {
                parts.first { $0.hasPrefix(name + "=") }.flatMap { Double($0.dropFirst(name.count + 1)) } ?? 0
            }
            usage.commands += number("calls")
            if name == "cmdstat_fcall" || name == "cmdstat_fcall_ro" { usage.functionSeconds += number("usec") / 1e6 }
        }
        return usage
    }

    /// The memory of the data in bytes. It excludes the buffers of clients and of the append-only file, which vary.
    static func dataBytes(_ client: RedisClient) async throws -> Double {
        let fields = try await info(client, "memory")
        func number(_ name: Substring) -> Double { fields[name].flatMap(Double.init) ?? 0 }
        guard fields["used_memory"] != nil else { throw BenchError("INFO lacks used_memory") }
        return number("used_memory") - number("mem_clients_normal") - number("mem_aof_buffer")
    }

    static func info(_ client: RedisClient, _ sections: RedisArgument...) async throws -> [Substring: Substring] {
        let text = try await client.send(RedisCommand("INFO", sections)).string ?? ""
        var fields: [Substring: Substring] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        return fields
    }
}

/// The cost of one run of an operation, per task (or per call).
struct BenchSample: Sendable {
    /// Wall-clock time.
    var seconds: Double
    /// Redis's processor time in µs, including sockets.
    var cpuMicroseconds: Double
    /// Wall-clock time inside functions, in µs.
    var functionMicroseconds: Double
    var commands: Double

    var perSecond: Double { 1 / seconds }
    /// The share of one core that Redis used: 0 to 1, or slightly more with its background threads.
    var busy: Double { cpuMicroseconds / 1e6 / seconds }

    /// Measures `body`.
    /// - Parameter count: the number of tasks (or calls) that `body` handles.
    static func measure(_ client: RedisClient, count: Int, _ body: () async throws -> Void) async throws -> BenchSample
    {
        let before = try await RedisUsage.read(client)
        let start = ContinuousClock.now
        try await body()
        let seconds = (ContinuousClock.now - start).seconds
        let after = try await RedisUsage.read(client)
        let count = Double(count)
        return BenchSample(
            seconds: seconds / count,
            cpuMicroseconds: (after.cpuSeconds - before.cpuSeconds) * 1e6 / count,
            functionMicroseconds: (after.functionSeconds - before.functionSeconds) * 1e6 / count,
            // Redis counts the INFO of the first reading after it has replied to it.
            commands: (after.commands - before.commands - 1) / count)
    }

    /// The cost of two operations that handle the same tasks, one after the other.
    static func + (left: BenchSample, right: BenchSample) -> BenchSample {
        BenchSample(
            seconds: left.seconds + right.seconds, cpuMicroseconds: left.cpuMicroseconds + right.cpuMicroseconds,
            functionMicroseconds: left.functionMicroseconds + right.functionMicroseconds,
            commands: left.commands + right.commands)
    }
}
