import RedisClient
import Switchyard

/// What workers do, each caller with workers of its own.
extension BenchLoad {
    /// A worker with what it holds.
    struct Holder: Sendable {
        let link: WorkerProtocol
        var reports: [WorkerProtocol.Report] = []
    }

    /// Workers, dealt to the callers in turn.
    func register(_ count: Int) async throws -> [[Holder]] {
        try await share(count) { caller, share in
            var own: [Holder] = []
            for index in 0..<share {
                let link = try WorkerProtocol(
                    worker: "bench-\(caller)-\(index)", queue: queue, client: client, logger: logger)
                _ = try await link.register(option.registration(slots: perCall))
                own.append(Holder(link: link))
            }
            return own
        }
    }

    /// As busy workers live it: submitted, then each call reports and takes the next.
    struct Life: Sendable {
        var submit, finishPull: BenchSample
        var whole: BenchSample { submit + finishPull }
    }

    /// Submits `tasks` tasks, and lets a worker of each caller run them all.
    func life(_ tasks: Int) async throws -> Life {
        let tasks = max(tasks, fewestTasks)
        let submit = try await BenchSample.measure(client, count: tasks) { try await self.submit(tasks) }
        let workers = try await register(callers)
        let finishPull = try await BenchSample.measure(client, count: tasks) {
            try await finishAndPull(tasks, by: try await pullStarted(workers))
        }
        return Life(submit: submit, finishPull: finishPull)
    }

    /// Every worker pulls and starts one call's worth.
    func pullStarted(_ holders: [[Holder]]) async throws -> [[Holder]] {
        try await each(holders) { holder in
            let pulled = try await holder.link.pull(max: perCall, holding: 0)
            guard !pulled.isEmpty else { throw Self.nothingFound }
            holder.reports = pulled.map { report($0.id, attempt: $0.attempt) }
        }
    }

    /// Every worker pulls one call's worth, and starts nothing.
    func pull(_ holders: [[Holder]]) async throws -> [[Holder]] {
        try await each(holders) { holder in
            let reply = try await holder.link.functions.call(
                "pull",
                ["worker", .string(holder.link.worker), "max", .integer(Int64(perCall)), "start", "0", "holding", "0"])
            holder.reports = (reply.array ?? []).compactMap(report)
            guard !holder.reports.isEmpty else { throw Self.nothingFound }
        }
    }

    /// Every worker starts what it pulled, in one call.
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

    /// Every worker reports what it holds completed, in one call.
    func finish(_ holders: [[Holder]]) async throws {
        _ = try await each(holders) { holder in
            let answer = try await holder.link.finish(holder.reports, pull: 0, holding: 0)
            for state in answer.states { _ = try state.get() }
            holder.reports = []
        }
    }

    /// Reports `count` tasks completed, each call pulling as many as it reports, from what `holders` hold on: as busy
    /// workers do. One worker a caller.
    func finishAndPull(_ count: Int, by holders: [[Holder]]) async throws {
        try await share(count) { caller, share in
            guard let holder = holders[caller].first else { return }
            var held = holder.reports
            var unpulled = share - held.count
            while !held.isEmpty {
                let answer = try await holder.link.finish(held, pull: max(0, min(held.count, unpulled)), holding: 0)
                for state in answer.states { _ = try state.get() }
                var assignments = answer.assignments
                if assignments.isEmpty, unpulled > 0 { assignments = try await pullLater(unpulled, holder) }
                unpulled -= assignments.count
                held = assignments.map { report($0.id, attempt: $0.attempt) }
            }
        }
    }

    /// What is left may wait for tasks that other workers hold: at the end of a chain, for another chain.
    private func pullLater(_ unpulled: Int, _ holder: Holder) async throws -> [WorkerProtocol.Assignment] {
        for _ in 0..<5000 {
            let pulled = try await holder.link.pull(max: min(perCall, unpulled), holding: 0)
            if !pulled.isEmpty { return pulled }
            try await Task.sleep(for: .milliseconds(1))
        }
        throw Self.nothingFound
    }

    private static let nothingFound = Failure(.error, "bench: a pull found nothing where tasks were left")

    private func report(_ id: String, attempt: Int) -> WorkerProtocol.Report {
        var report = WorkerProtocol.Report(taskID: id, attempt: attempt, outcome: .completed)
        if reportsResults {
            report.exitCode = 0
            report.result = Self.result
        }
        return report
    }

    /// From an assignment as the function answers it: pairs of name and value.
    private func report(_ assignment: RESPValue) -> WorkerProtocol.Report? {
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
