import Switchyard

/// An attempt that has ended, and its outcome.
struct AttemptEnd {
    let attempt: Attempt
    let outcome: AttemptOutcome

    /// Returns the report to send, or nil if the attempt was handed back, or the lease ends by itself. An attempt that
    /// its time limit stopped is reported as timed out, whatever its handler returned. Of an attempt that the queue has
    /// ended, only the end of its process is reported. A result that the queue does not accept becomes a failure.
    func report(stopped: AttemptTable.StopReason?) -> WorkerClient.Report? {
        var report = WorkerClient.Report(taskID: attempt.id, attempt: attempt.number, outcome: .completed)
        switch stopped {
        case .notOurs:
            report.outcome = .ended
        case .leaseOver, .drained:
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
            case .handedBack:
                return nil
            case .failed(let failure, let result, let exitCode, let isRetryable, let retryAfter):
                report.outcome = .failed
                report.failure = failure
                report.result = result
                report.exitCode = exitCode
                report.isRetryable = isRetryable
                report.retryAfter = retryAfter
            }
        }
        return report.checked()
    }
}
