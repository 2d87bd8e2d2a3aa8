import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Reports in a queue without scheduling options: mostly one completion, after which the worker takes the next task.
extension ModelRun {
    mutating func report() async throws {
        if chance(6), let (worker, reports) = lastReports { return try await report(reports, by: worker) }
        let running = ids { $0.state == .running }
        guard let first = running.randomElement(using: &generator), var worker = model.tasks[first]?.worker
        else { return }
        if chance(10) { try await reportEnding() }
        if chance(60) { return try await reportCompletion(of: first, by: worker) }
        var reports = [report(on: first)]
        if chance(40) {
            for task in model.held(by: worker) where task.id != first && chance(70) {
                reports.append(report(on: task.id))
            }
        }
        if chance(8) { reports.append(report(on: pick(ids { _ in true }))) }
        if chance(8) { reports.append(report(on: "nobody-knows")) }
        if chance(10) { worker = self.worker() }
        var seen: Set<String> = []
        try await report(reports.filter { seen.insert($0.id).inserted }, by: worker)
    }

    /// The report of a busy worker; sometimes it comes too late.
    private mutating func reportCompletion(of id: String, by worker: String) async throws {
        let attempt = model.tasks[id]?.attempt ?? 1
        var report = ModelReport(id: id, attempt: attempt, outcome: "completed")
        if chance(50) { report.result = "ok" }
        if chance(5) { report.attempt = attempt > 1 ? attempt - 1 : attempt + 1 }
        try await self.report([report], by: chance(97) ? worker : self.worker(), isUsual: true)
    }

    private mutating func report(on id: String) -> ModelReport {
        let attempt = max(1, model.tasks[id]?.attempt ?? 1)
        var report = ModelReport(id: id, attempt: attempt, outcome: "completed")
        if chance(20) { report.outcome = pick(["failed", "failed", "timeout"]) }
        // An earlier attempt, or one that never existed.
        if chance(7) { report.attempt = attempt > 1 ? attempt - 1 : attempt + 1 }
        if chance(50) { report.result = pick(["ok", String(repeating: "long ", count: 300)]) }
        if chance(10) { report.exitCode = pick(["0", "7"]) }
        if report.outcome != "completed", chance(25) { report.retryable = false }
        return report
    }

    /// - Parameter isUsual: The worker pulls and starts one task, as it does after each completion.
    private mutating func report(
        _ reports: [ModelReport], by worker: String, isUsual: Bool = false
    ) async throws {
        lastReports = (worker, reports)
        let ending = reports.filter { report in
            let task = model.tasks[report.id]
            return task?.state == .running && task?.worker == worker && task?.attempt == report.attempt
        }
        let most = isUsual ? 1 : pick([nil, 0, 1, 1, 2, 5])
        let start = isUsual || chance(90)
        let holding = holding(worker, model.occupying(worker).count - ending.count)
        var arguments: [RedisArgument] = ["worker", .string(worker)]
        if let most { arguments += ["pull", .integer(Int64(most))] }
        if start { arguments += ["start", "1"] }
        if let holding { arguments += ["holding", .integer(Int64(holding))] }
        for report in reports { arguments += Self.arguments(report) }
        let reply = try await call("finish", arguments)

        let found = (reply[0]?.array ?? []).map { $0.error?.code ?? $0.string ?? "" }
        let expected = model.report(reports, by: worker)
        try expect(found == expected, "the reports got \(found), expected \(expected)")
        for answer in found { done["finish \(answer)", default: 0] += 1 }
        guard let most, most > 0 else { return }
        guard model.workers[worker] != nil else {
            return try expect(reply[1]?.error?.code == "WORKERNOTFOUND", "\(worker) is not registered, and may pull")
        }
        try await compareAssignments(reply[1] ?? .null, worker, max: most, start: start, holding: holding)
    }

    private static func arguments(_ report: ModelReport) -> [RedisArgument] {
        var arguments: [RedisArgument] = [
            "task", .string(report.id), "attempt", .integer(Int64(report.attempt)), "outcome", .string(report.outcome),
        ]
        if let result = report.result { arguments += ["result", .string(result)] }
        if let code = report.exitCode { arguments += ["exit_code", .string(code)] }
        if !report.retryable { arguments += ["retryable", "0"] }
        return arguments
    }
}
