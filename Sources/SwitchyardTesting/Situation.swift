import RedisClient
import Switchyard

/// Every situation in which an event can find a task. `none`: the task does not exist.
package enum Situation: String, Sendable, CaseIterable {
    case none, pending
    case heldBySchedule, heldByRetry
    case assigned, running
    /// Running, with no retry left.
    case lastTry
    case completed, failed, timeout, cancelled
}

extension TestQueue {
    /// The id of the worker that holds, or held, the tasks of ``put(_:in:afterEarlierAttempt:)``.
    package static let holder = "holder"

    /// Brings a new task into `situation`. ``holder`` is registered, and is the worker of its attempts.
    /// - Parameter afterEarlierAttempt: Attempt 1 was pulled and released first; ignored for `heldBySchedule`.
    /// - Returns: The number of its latest attempt; 0 before the first.
    @discardableResult
    package func put(
        _ id: String, in situation: Situation, afterEarlierAttempt: Bool = false
    ) async throws -> Int {
        let holder = Self.holder
        if try await raw("EXISTS", "{}worker:" + holder).int == 0 { _ = try await worker(holder, slots: 100) }
        guard situation != .none else { return 0 }
        let delay = situation == .heldBySchedule ? ["delay_ms": "60000"] : [:]
        try await submit(id, maxRetries: situation == .lastTry ? 0 : 2, delay)
        var attempt = 0
        if afterEarlierAttempt, situation != .heldBySchedule {
            try await pull(holder)
            try await call("release", "worker", .string(holder), "task", .string(id), "attempt", "1")
            attempt = 1
        }
        switch situation {
        case .none, .pending, .heldBySchedule: return attempt
        case .assigned:
            try await pull(holder)
            return attempt + 1
        case .cancelled, .running, .lastTry, .heldByRetry, .completed, .failed, .timeout:
            attempt += 1
            try await pull(holder, start: true)
        }
        switch situation {
        case .cancelled: try await call("cancel", "task", .string(id))
        case .heldByRetry: try await finish(holder, id, attempt: attempt, "failed")
        case .completed: try await finish(holder, id, attempt: attempt, "completed", ["result": "42"])
        case .failed: try await finish(holder, id, attempt: attempt, "failed", ["retryable": "0"])
        case .timeout: try await finish(holder, id, attempt: attempt, "timeout", ["retryable": "0"])
        default: break
        }
        return attempt
    }
}
