import Switchyard

/// Measures submissions per second, through Swift and through HTTP: one at a time, by many callers, and in batches.
struct SubmitMeasurement: Sendable {
    let context: BenchContext

    /// Kept-alive connections, each with one request in flight.
    private static let connections = 32
    private static let batchConnections = 4
    static let httpBatch = 100

    func run() async throws -> [Figure] {
        let concurrency = context.plan.concurrency
        // `divisor`: a run has this fraction of the planned tasks, so that the slow case does not take too long.
        let cases: [(name: String, label: String, perCall: Int, callers: Int?, divisor: Int)] = [
            ("one_at_a_time", "one call at a time", 1, 1, 4),
            ("single", "\(concurrency) callers, a call per task", 1, nil, 1),
            ("batch_16", "batches of 16", 16, nil, 1), ("batch", "batches of 100", 100, nil, 1),
            ("batch_500", "batches of 500", SchedulerHandle.tasksPerCall, nil, 1),
        ]
        var figures: [Figure] = []
        for one in cases {
            let load = try context.load(perCall: one.perCall, callers: one.callers)
            let samples = try await context.runs(one.label) { isWarmUp in
                let count = context.share(of: context.plan.tasks / one.divisor, isWarmUp: isWarmUp)
                return try await BenchSample.measure(context.client, count: count) { try await load.submit(count) }
            }
            figures += Self.figures(one.name, one.label, samples)
        }
        return figures + (try await overHTTP())
    }

    /// Measures a replica in its own process, with a client that only writes prepared requests.
    private func overHTTP() async throws -> [Figure] {
        let (child, port) = try await BenchChild.serve(context)
        let result: Result<[Figure], any Error>
        do {
            let one = #"{"priority":"normal","payload":"# + BenchLoad.payload + "}"
            let many = "[" + Array(repeating: one, count: Self.httpBatch).joined(separator: ",") + "]"
            let single = try await posts(
                "http", "HTTP: POST /scheduler/task, \(Self.connections) connections",
                HTTPLoad(port: port, path: "/scheduler/task", body: one, connections: Self.connections), tasks: 1)
            let batch = try await posts(
                "http_batch", "HTTP: POST /scheduler/tasks, \(Self.httpBatch) in each",
                HTTPLoad(port: port, path: "/scheduler/tasks", body: many, connections: Self.batchConnections),
                tasks: Self.httpBatch)
            result = .success(single + batch)
        } catch {
            result = .failure(error)
        }
        await child.stop()
        return try result.get()
    }

    private func posts(_ name: String, _ label: String, _ load: HTTPLoad, tasks: Int) async throws -> [Figure] {
        let handle = try SchedulerHandle(queue: context.queue, client: context.client, logger: context.logger)
        let samples = try await context.runs(label) { isWarmUp in
            let requests = max(1, context.share(of: context.plan.tasks, isWarmUp: isWarmUp) / (tasks == 1 ? 2 : tasks))
            let sample = try await BenchSample.measure(context.client, count: requests * tasks) {
                try await load.run(requests)
            }
            let pending = try await handle.getStats().pending
            guard pending == requests * tasks else {
                throw BenchError("bench: \(requests * tasks) tasks were posted, and \(pending) are pending")
            }
            return sample
        }
        return Self.figures(name, label, samples)
    }

    private static func figures(_ name: String, _ label: String, _ samples: [BenchSample]) -> [Figure] {
        let cpu = Figure(["submit_redis_us", name], nil, .microseconds, samples.map(\.cpuMicroseconds), floor: .call)
        let busy = Figure.median(samples.map(\.busy))
        return [
            Figure(
                ["submit_per_second", name], label, .perSecond, samples.map(\.perSecond), floor: .life,
                note: "Redis \(cpu.unit.text(cpu.value)) a task, \(Figure.Unit.share.text(busy)) busy"),
            cpu,
        ]
    }
}
