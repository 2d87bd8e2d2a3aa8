import RedisClient
import Switchyard

/// The operations of workers. Each caller has its own workers.
extension BenchLoad {
    /// A worker with the reports for its leased attempts.
    struct Holder: Sendable {
        let link: WorkerClient
        var reports: [WorkerClient.Report] = []
    }

    /// Registers `count` workers, divided evenly among the callers.
    func register(_ count: Int) async throws -> [[Holder]] {
        try await share(count) { caller, share in
            var own: [Holder] = []
            for index in 0..<share {
                let link = try WorkerClient(
                    worker: "bench-\(caller)-\(index)", queue: queue, client: client, logger: logger)
                _ = try await link.register(option.registration(slots: perCall))
                own.append(Holder(link: link))
            }
            return own
        }
    }

    /// The cost of the whole life with busy workers: submissions, then calls that each report tasks and pull the next.
    struct Life: Sendable {
        var submit, finishPull: BenchSample
        var whole: BenchSample { submit + finishPull }
    }

    /// Submits `tasks` tasks, then completes all of them with one worker for each caller.
    func life(_ tasks: Int) async throws -> Life {
        let tasks = max(tasks, fewestTasks)
        let submit = try await BenchSample.measure(client, count: tasks) { try await self.submit(tasks) }
        let workers = try await register(callers)
        let finishPull = try await BenchSample.measure(client, count: tasks) {
            try await finishAndPull(tasks, by: try await pullStarted(workers))
        }
        return Life(submit: submit, finishPull: finishPull)
    }

    /// Every worker pulls and starts up to `perCall` tasks, in one call.
    func pullStarted(_ holders: [[Holder]]) async throws -> [[Holder]] {
        try await each(holders) { holder in
            let pulled = try await holder.link.pull(max: perCall, holding: 0)
            guard !pulled.isEmpty else { throw Self.nothingFound }
            holder.reports = pulled.map { report($0.id, attempt: $0.attempt) }
        }
    }

    /// Every worker pulls up to `perCall` tasks, in one call, without starting them.
    func pull(_ holders: [[Holder]]) async throws -> [[Holder]] {
        try await each(holders) { holder in
            let reply = try await holder.link.functions.call(
                "pull",
                ["worker", .string(holder.link.worker), "max", .integer(Int64(perCall)), "start", "0", "holding", "0"])
            holder.reports = (reply.array ?? []).compactMap(report)
            guard !holder.reports.isEmpty else { throw Self.nothingFound }
        }
    }

    /// Every worker starts its pulled tasks, in one call.
    func start(_ holders: [[Holder]]) async throws {
        _ = try await each(holders) { holder in
            let attempts: [[RedisArgument]] = holder.reports.map {
                ["task", .string($0.taskID), "attempt", .integer(Int64($0.attempt))]
            }
            let reply = try await holder.link.functions.call(
                "start", ["worker", .string(holder.link.worker)] + attempts.joined())
            if let error = reply.array?.lazy.compactMap(\.error).first { throw SchedulerError(error) }
        }
    }

    /// Every worker reports its tasks as completed, in one call.
    func finish(_ holders: [[Holder]]) async throws {
        _ = try await each(holders) { holder in
            let reply = try await holder.link.finish(holder.reports, pull: 0, holding: 0)
            for state in reply.states { _ = try state.get() }
            holder.reports = []
        }
    }

    /// Reports `count` tasks as completed, as busy workers do: each call also pulls as many tasks as it reports.
    /// - Parameter holders: one worker for each caller, with the tasks that it has started.
    func finishAndPull(_ count: Int, by holders: [[Holder]]) async throws {
        try await share(count) { caller, share in
            guard let holder = holders[caller].first else { return }
            var reports = holder.reports
            var unpulled = share - reports.count
            while !reports.isEmpty {
                let reply = try await holder.link.finish(
                    reports, pull: max(0, min(reports.count, unpulled)), holding: 0)
                for state in reply.states { _ = try state.get() }
                var assignments = reply.assignments
                if assignments.isEmpty, unpulled > 0 { assignments = try await pullLater(unpulled, holder) }
                unpulled -= assignments.count
                reports = assignments.map { report($0.id, attempt: $0.attempt) }
            }
        }
    }

    /// Pulls again every millisecond: the remaining tasks may depend on tasks that other workers have not completed.
    /// - Throws: ``BenchError`` if 5000 pulls return nothing.
    private func pullLater(_ unpulled: Int, _ holder: Holder) async throws -> [WorkerClient.Assignment] {
        for _ in 0..<5000 {
            let pulled = try await holder.link.pull(max: min(perCall, unpulled), holding: 0)
            if !pulled.isEmpty { return pulled }
            try await Task.sleep(for: .milliseconds(1))
        }
        throw Self.nothingFound
    }

    private static let nothingFound = BenchError("bench: a pull found nothing where tasks were left")

    private func report(_ id: String, attempt: Int) -> WorkerClient.Report {
        var report = WorkerClient.Report(taskID: id, attempt: attempt, outcome: .completed)
        if reportsResults {
            report.exitCode = 0
            report.result = Self.result
        }
        return report
    }

    /// Makes a report from an assignment in the function's reply, which has pairs of name and value.
    private func report(_ assignment: RESPValue) -> WorkerClient.Report? {
        let pairs = assignment.array ?? []
        func value(_ name: String) -> RESPValue? {
            stride(from: 0, to: pairs.count - 1, by: 2).first { pairs[$0].string == name }.map { pairs[$0 + 1] }
        }
        guard let id = value("task")?.string, let attempt = value("attempt")?.int else { return nil }
        return report(id, attempt: Int(attempt))
    }

    private func each(
        _ holders: [[Holder]], _ body: @escaping @Sendable (inout Holder) async throws -> Void
    ) async throws -> [[Holder]] {
        try await share(callers) { caller, _ in
            var own = caller < holders.count ? holders[caller] : []
            for index in own.indices { try await body(&own[index]) }
            return own
        }
    }
}
