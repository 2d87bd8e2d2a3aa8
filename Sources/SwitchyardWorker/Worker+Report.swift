import Switchyard

extension Worker {
    /// What to tell of an attempt that is over: nothing when it had been stopped because it is not ours any more.
    static func report(
        _ attempt: Attempt, _ outcome: AttemptOutcome, stopped: AttemptTable.StopReason?
    ) -> WorkerProtocol.Report? {
        var report = WorkerProtocol.Report(taskID: attempt.task.id, attempt: attempt.number, outcome: .completed)
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
