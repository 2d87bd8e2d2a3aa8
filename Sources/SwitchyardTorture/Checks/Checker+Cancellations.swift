import Switchyard

/// Attempts that a client cancels while they run: the queue gives them up at once, and their worker ends them when it
/// hears of it.
extension Checker {
    /// A worker ends a cancelled attempt when it is told, at the latest by the reply to its next heartbeat.
    static func lateCancellations(_ evidence: Evidence) -> [String] {
        evidence.executions.compactMap { execution -> String? in
            guard let end = execution.to, let call = evidence.cancellation(of: execution),
                end - call.to > Evidence.aftermath,
                !evidence.wasStruck(execution.worker, from: execution.from, to: end)
            else { return nil }
            return
                "attempt \(execution.attempt) of \(execution.task) on \(execution.worker) was cancelled at "
                + "\(call.to.seconds), and ended at \(end.seconds)"
        }.sorted()
    }
}

extension Evidence {
    /// The first call that can have cancelled the execution; nil if the queue does not know it as cancelled.
    func cancellation(of execution: Execution) -> Call? {
        guard outcome(of: execution) == "cancelled" else { return nil }
        return calls.filter { call in
            guard call.kind == .cancel, call.tasks == [execution.task], call.to > execution.from else { return false }
            if case .refused = call.outcome { return false }
            return true
        }.min { $0.from < $1.from }
    }

    /// Until when the execution certainly counted, for its queue too: a cancelled one may go on for a moment, while its
    /// place is given to others. Nil: unknown.
    func countedUntil(_ execution: Execution) -> Uptime? {
        guard let end = end(of: execution) else { return nil }
        return min(end, cancellation(of: execution)?.from ?? end)
    }

    /// How the attempt ended, as its task says; nil if the task does not list it, or it has not ended.
    func outcome(of execution: Execution) -> String? {
        tasks[execution.task]?.attempts.first { $0.attempt == execution.attempt }?.outcome
    }
}
