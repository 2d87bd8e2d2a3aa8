import Foundation
import JSON
import Switchyard

/// Why a task in a list waits, as far as the task itself shows it: a time, a dependency, a limit or a pause.
/// ``LineReasons`` has the reasons of the tasks that wait for a worker.
enum HoldJSON {
    static func json(_ task: QueuedTask, now: Date = Date()) -> JSONValue? {
        guard task.state == .pending, let hold = task.heldBy else { return nil }
        let code = hold == .retry ? "backoff" : hold.rawValue
        return ["code": .string(code), "message": .string(message(hold, task, now))]
    }

    private static func message(_ hold: HoldReason, _ task: QueuedTask, _ now: Date) -> String {
        // Redis's clock decides; a difference of the clocks shows in the seconds.
        let seconds = (task.dueAt ?? task.runAt).map { max(0, Int($0.timeIntervalSince(now).rounded(.up))) }
        let due = seconds.map { "in \($0) s" } ?? "later"
        let options = task.scheduling
        switch hold {
        case .schedule: return "its run_at is \(due)"
        case .retry:
            return
                "attempt \(task.attempt) did not succeed; retry \(task.retryCount) of \(task.maxRetries ?? 0) is \(due)"
        case .ending:
            return "the process of attempt \(task.attempt) was told to end and is not gone; it waits for that"
        case .dependencies:
            let some = options.dependsOn.prefix(3).joined(separator: ", ")
            return "it waits for \(some)\(options.dependsOn.count > 3 ? ", …" : "")"
        case .concurrencyLimit:
            return "concurrency_key \(options.concurrencyKey ?? "") is at its limit of \(options.concurrencyLimit ?? 1)"
        case .rateLimit: return "rate_key \(options.rateKey ?? "") is at its rate"
        case .paused: return "the queue is paused; resume it"
        }
    }
}
