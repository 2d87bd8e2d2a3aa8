import Switchyard

/// Measures how fast real `switchyard worker --no-op` processes drain a long queue, and how busy Redis is meanwhile.
struct DrainMeasurement: Sendable {
    let context: BenchContext

    /// Interval between two checks whether all tasks have completed. A check costs Redis some ten µs.
    private static let interval: Duration = .milliseconds(10)

    func run() async throws -> [Figure] {
        var figures: [Figure] = []
        var best: (perSecond: Double, samples: [BenchSample], workers: Int)?
        for workers in context.plan.workers {
            let label = "drained by \(workers) worker process\(workers == 1 ? "" : "es")"
            let samples = try await context.runs(label) { isWarmUp in
                try await drain(context.share(of: context.plan.drainTasks, isWarmUp: isWarmUp), workers: workers)
            }
            let perSecond = Figure.median(samples.map(\.perSecond))
            if perSecond > best?.perSecond ?? 0 { best = (perSecond, samples, workers) }
            let cpu = Figure.median(samples.map(\.cpuMicroseconds))
            let busy = Figure.median(samples.map(\.busy))
            figures += [
                Figure(
                    ["drain", "\(workers)", "per_second"], label, .perSecond, samples.map(\.perSecond), floor: .life,
                    note: "\(context.plan.slots) slots, Redis \(Figure.Unit.microseconds.text(cpu)) a task, "
                        + "\(Figure.Unit.share.text(busy)) busy"),
                Figure(["drain", "\(workers)", "redis_busy"], nil, .share, samples.map(\.busy)),
                Figure(
                    ["drain", "\(workers)", "redis_us"], nil, .microseconds, samples.map(\.cpuMicroseconds),
                    floor: .call),
            ]
        }
        guard let best else { return figures }
        return figures + [
            Figure(["drain_per_second"], nil, .perSecond, best.samples.map(\.perSecond), floor: .life),
            Figure(
                ["redis_busy"], "Redis's core is busy", .share, best.samples.map(\.busy),
                note: "with \(best.workers), which drain most"),
            Figure(["drain_workers"], nil, .count, [Double(best.workers)]),
        ]
    }

    /// Measures from the resumption of the queue until the last task has completed.
    private func drain(_ count: Int, workers: Int) async throws -> BenchSample {
        let load = try context.load(perCall: SchedulerHandle.tasksPerCall, callers: 2)
        // The queue is paused: the registered workers stay idle while it fills.
        try await load.handle.pause()
        let children = try await BenchChild.workers(workers, slots: context.plan.slots, context)
        let result: Result<BenchSample, any Error>
        do {
            try await load.submit(count)
            try await context.settle(context.queue, depth: count)
            result = .success(
                try await BenchSample.measure(context.client, count: count) {
                    try await load.handle.resume()
                    while try await load.handle.getStats().completed < count {
                        for child in children { try child.check() }
                        try await Task.sleep(for: Self.interval)
                    }
                })
        } catch {
            result = .failure(error)
        }
        for child in children { await child.stop() }
        return try result.get()
    }
}
