import RedisClient

/// What Redis says of its own work. The difference of two readings is what lay between them, plus the two readings: some
/// ten microseconds and a command.
struct RedisUsage: Sendable {
    /// Of the server process, all threads; children that rewrite the append-only file do not count.
    var cpuSeconds: Double
    /// Inside functions, by the clock: on a busy machine more than the processor time.
    var functionSeconds: Double
    /// Those that functions call included.
    var commands: Double

    static func read(_ client: RedisClient) async throws -> RedisUsage {
        let fields = try await info(client, "cpu", "commandstats")
        guard let user = fields["used_cpu_user"].flatMap(Double.init),
            let system = fields["used_cpu_sys"].flatMap(Double.init)
        else { throw Failure(.error, "INFO does not tell used_cpu_user and used_cpu_sys") }
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

    /// Bytes that the data takes: without the buffers of clients and of the append-only file, which come and go.
    static func dataBytes(_ client: RedisClient) async throws -> Double {
        let fields = try await info(client, "memory")
        func number(_ name: Substring) -> Double { fields[name].flatMap(Double.init) ?? 0 }
        guard fields["used_memory"] != nil else { throw Failure(.error, "INFO does not tell used_memory") }
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

/// What one run of one operation cost, for each task or call that it handled.
struct BenchSample: Sendable {
    /// Wall time.
    var seconds: Double
    /// µs of Redis's processor time, sockets included.
    var cpuMicroseconds: Double
    /// µs inside functions, by the clock.
    var functionMicroseconds: Double
    var commands: Double

    var perSecond: Double { 1 / seconds }
    /// How much of one core Redis used: 0 to 1, and a little more with its background threads.
    var busy: Double { cpuMicroseconds / 1e6 / seconds }

    /// - Parameter count: how many tasks (or calls) `body` handles.
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
            // The first reading counts itself after it was taken.
            commands: (after.commands - before.commands - 1) / count)
    }

    /// One after the other, for the same tasks.
    static func + (left: BenchSample, right: BenchSample) -> BenchSample {
        BenchSample(
            seconds: left.seconds + right.seconds, cpuMicroseconds: left.cpuMicroseconds + right.cpuMicroseconds,
            functionMicroseconds: left.functionMicroseconds + right.functionMicroseconds,
            commands: left.commands + right.commands)
    }
}
