import Histogram
import Logging
import Switchyard
import SwitchyardWorker

/// Measures the time from a task's submission until an idle worker has started it.
///
/// For comparison it measures the round trip of a PING by the same client, before each start and after the same pause.
struct LatencyMeasurement: Sendable {
    let context: BenchContext

    /// A histogram of nanoseconds, up to a minute, with three significant digits.
    private typealias Nanoseconds = Histogram<UInt64>
    private static func histogram() -> Nanoseconds {
        Nanoseconds(highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)
    }

    /// Pause before each PING and each start, so that the worker blocks on its wake-ups and the client's threads sleep.
    private static let pause: Duration = .milliseconds(2)

    private struct Run: Sendable {
        var starts = LatencyMeasurement.histogram()
        var pings = LatencyMeasurement.histogram()
        /// Consecutive PINGs without pauses.
        var busyPings = LatencyMeasurement.histogram()
    }

    func run() async throws -> [Figure] {
        let runs = try await context.runs("an idle worker, \(context.plan.starts) starts") { isWarmUp in
            try await measure(context.share(of: context.plan.starts, isWarmUp: isWarmUp))
        }
        let percentiles = [("p50", 50.0), ("p99", 99.0), ("p999", 99.9)]
        return percentiles.map { name, percentile in
            figure(
                ["start_latency_ms", name], "idle submit → started, \(name)", runs.map(\.starts), percentile,
                floor: .roundTrip)
        } + [
            figure(
                ["floor", "ping_rtt_ms_p50"], "PING round trip, p50", runs.map(\.pings), 50, floor: nil,
                note: "same client, before each start"),
            figure(
                ["floor", "ping_rtt_ms_p99"], "PING round trip, p99", runs.map(\.pings), 99, floor: .roundTrip),
            figure(
                ["floor", "ping_rtt_busy_ms_p50"], "PING round trip without pauses, p50", runs.map(\.busyPings), 50,
                floor: .roundTrip),
        ]
    }

    /// Makes a figure whose value is the percentile of all runs together: a single run has few values beyond it.
    private func figure(
        _ path: [String], _ label: String, _ runs: [Nanoseconds], _ percentile: Double, floor: Figure.Floor?,
        note: String = ""
    ) -> Figure {
        var all = Self.histogram()
        for run in runs { all.add(run) }
        func milliseconds(_ histogram: Nanoseconds) -> Double {
            Double(histogram.valueAtPercentile(percentile)) / 1e6
        }
        return Figure(
            path, label, .milliseconds, runs.map(milliseconds), value: milliseconds(all), floor: floor, note: note)
    }

    private func measure(_ count: Int) async throws -> Run {
        let handle = try SchedulerHandle(queue: context.queue, client: context.client, logger: context.logger)
        let stopwatch = Stopwatch()
        // The worker has its own connections, as in a process of its own.
        let client = try context.redis.anotherClient()
        let worker = try Worker(
            id: "bench-idle", queue: context.queue, client: client, options: WorkerOptions(slots: 1),
            handler: stopwatch, logger: context.logger)
        let result: Result<Run, any Error>
        do {
            result = .success(try await ServingWorkers.run([worker]) { try await time(count, handle, stopwatch) })
        } catch {
            result = .failure(error)
        }
        await client.shutdown()
        return try result.get()
    }

    private func time(_ count: Int, _ handle: SchedulerHandle, _ stopwatch: Stopwatch) async throws -> Run {
        var run = Run()
        var starts = stopwatch.starts.makeAsyncIterator()
        for _ in 0..<count {
            while try await handle.getStats().idleWorkers == 0 { try await Task.sleep(for: .microseconds(200)) }
            try await Task.sleep(for: Self.pause)
            run.pings.record(try await ping())
            try await Task.sleep(for: Self.pause)
            let task = QueuedTask(BenchLoad.request, priority: .normal)
            let begin = ContinuousClock.now
            _ = try await handle.addTask(task)
            guard let started = await starts.next() else { throw CancellationError() }
            run.starts.record(UInt64(max(0, (started - begin) / .nanoseconds(1))))
        }
        for _ in 0..<count { run.busyPings.record(try await ping()) }
        return run
    }

    private func ping() async throws -> UInt64 {
        let begin = ContinuousClock.now
        _ = try await context.client.send(.init("PING"))
        return UInt64(max(0, (ContinuousClock.now - begin) / .nanoseconds(1)))
    }
}

/// Records the time at which each attempt is passed to it: by then the worker knows that the task is started.
private struct Stopwatch: TaskHandler {
    let starts: AsyncStream<ContinuousClock.Instant>
    private let note: AsyncStream<ContinuousClock.Instant>.Continuation

    init() { (starts, note) = AsyncStream.makeStream() }

    func run(_ attempt: Attempt) async -> AttemptOutcome {
        note.yield(.now)
        return .completed()
    }
}
