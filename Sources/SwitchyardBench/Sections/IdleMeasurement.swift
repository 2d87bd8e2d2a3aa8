/// Measures what an idle replica and an idle worker cost Redis. Both are real processes.
struct IdleMeasurement: Sendable {
    let context: BenchContext

    /// Time for a process to finish its start before the measurement begins.
    private static let settling: Duration = .seconds(2)

    func run() async throws -> [Figure] {
        try await context.freshQueue()
        context.say("a replica, \(context.plan.idle)")
        let (replica, _) = try await BenchChild.serve(context)
        var workers: [BenchChild] = []
        let result: Result<[Figure], any Error>
        do {
            let alone = try await watch()
            context.say("a replica and a worker, \(context.plan.idle)")
            workers = try await BenchChild.workers(1, slots: 1, context)
            let both = try await watch()
            for child in workers + [replica] { try child.check() }
            result = .success([
                Figure(
                    ["idle_commands_per_second"], "a replica and a worker: commands a second", .count,
                    [both.commandsPerSecond], note: "those inside functions included"),
                Figure(
                    ["idle", "replica_commands_per_second"], "a replica alone: commands a second", .count,
                    [alone.commandsPerSecond]),
                Figure(["idle", "redis_busy"], "Redis's core is busy", .share, [both.busy]),
            ])
        } catch {
            result = .failure(error)
        }
        for child in workers + [replica] { await child.stop() }
        return try result.get()
    }

    private func watch() async throws -> (commandsPerSecond: Double, busy: Double) {
        try await Task.sleep(for: Self.settling)
        let sample = try await BenchSample.measure(context.client, count: 1) {
            try await Task.sleep(for: context.plan.idle)
        }
        return (sample.commands / sample.seconds, sample.busy)
    }
}
