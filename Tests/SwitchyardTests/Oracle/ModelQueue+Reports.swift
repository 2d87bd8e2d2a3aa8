import Switchyard

/// A worker's report on one attempt.
struct ModelReport {
    var id: String
    var attempt: Int
    var outcome: String
    var result: String?
    var exitCode: String?
    var retryable = true
}

/// The replies to reports, including those that come too late or from the wrong worker.
extension ModelQueue {
    /// Returns the new state of each task, or the code of an error.
    mutating func report(_ reports: [ModelReport], by worker: String) -> [String] {
        let states = reports.map { report($0, by: worker) }
        endCall()
        return states
    }

    private mutating func report(_ report: ModelReport, by worker: String) -> String {
        guard let task = tasks[report.id] else { return report.outcome == "ended" ? "ended" : "TASKNOTFOUND" }
        guard task.isLive, task.attempt == report.attempt, task.worker == worker else {
            // Whatever the report says, the process is gone.
            if task.ending?.worker == worker, task.attempt == report.attempt { endEnding(task.id) }
            if report.outcome == "ended" { return "ended" }
            return answerAgain(task, report, by: worker)
        }
        if task.state == .assigned || report.outcome == "ended" { return "INVALIDSTATE" }
        if report.outcome == "completed" {
            move(task.id, to: .completed)
        } else {
            endAttempt(task.id, outcome: report.outcome, retryable: report.retryable)
        }
        guard let state = tasks[task.id]?.state else { return "" }
        if state.isTerminal {
            tasks[task.id]?.result = report.result
            tasks[task.id]?.exitCode = report.exitCode
        }
        return state.rawValue
    }

    /// The attempt is over. A repetition of the report that ended it gets the same reply as that one.
    private func answerAgain(_ task: ModelTask, _ report: ModelReport, by worker: String) -> String {
        if let record = task.records[report.attempt] {
            return record == ModelTask.Record(worker: worker, outcome: report.outcome) ? "pending" : "LEASELOST"
        }
        let isTheSame =
            task.state.isTerminal && task.attempt == report.attempt && task.worker == worker
            && (task.outcome ?? task.state.rawValue) == report.outcome
        return isTheSame ? task.state.rawValue : "LEASELOST"
    }
}
