import Switchyard

/// An attempt that is over, and how.
struct AttemptEnd {
    let attempt: Attempt
    let outcome: AttemptOutcome

    /// What to tell of it: nothing when it had been stopped because it is not ours any more.
    func report(stopped: AttemptTable.StopReason?) -> WorkerProtocol.Report? {
        var report = WorkerProtocol.Report(taskID: attempt.id, attempt: attempt.number, outcome: .completed)
        switch stopped {
        case .notOurs:
            return nil
        case .timeLimit:
            report.outcome = .timeout
            report.failure = TaskFailure(
                code: "Timeout",
                message: "attempt \(attempt.number) on worker \(attempt.workerID) exceeded its time limit of "
                    + "\(attempt.timeout.seconds) s")
        case nil:
            switch outcome {
            case .completed(let result, let exitCode):
                report.result = result
                report.exitCode = exitCode
            case .failed(let failure, let result, let exitCode, let isRetryable):
                report.outcome = .failed
                report.failure = failure
                report.result = result
                report.exitCode = exitCode
                report.isRetryable = isRetryable
            }
        }
        return report
    }
}
