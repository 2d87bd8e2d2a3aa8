import Foundation
import Switchyard
import Synchronization

/// A time of this machine, in seconds since its start: the clock of `/proc/uptime`, which a shell can read as well.
struct Uptime: Comparable, Sendable {
    var seconds: Double

    static var now: Uptime {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Uptime(seconds: Double(time.tv_sec) + Double(time.tv_nsec) / 1e9)
    }

    static func < (left: Uptime, right: Uptime) -> Bool { left.seconds < right.seconds }
    static func - (left: Uptime, right: Uptime) -> Double { left.seconds - right.seconds }
    static func + (left: Uptime, right: Double) -> Uptime { Uptime(seconds: left.seconds + right) }
}

/// One call of a client, with its reply.
struct Call: Sendable {
    enum Kind: String, Sendable {
        case submit, repeated, cancel, prioritize, retry, get
    }

    enum Outcome: Sendable, Equatable {
        /// The call was acknowledged.
        case ok
        /// The call was refused with this code: it has changed nothing.
        case refused(String)
        /// Nobody knows whether the call took effect.
        case unknown(String)
    }

    var kind: Kind
    /// The tasks that the call is about.
    var tasks: [String]
    var from: Uptime
    var to: Uptime
    var outcome: Outcome
    /// The task as the call returned it.
    var seen: QueuedTask?
}

/// Everything that clients did, and what they were told: the record that the checks read.
final class History: Sendable {
    private struct Record {
        var calls: [Call] = []
        /// What each task is, also of those whose submission is not acknowledged.
        var submitted: [String: WorkloadTask] = [:]
    }

    private let record = Mutex(Record())

    /// Notes the tasks before they are submitted: even a call without an answer may have submitted them.
    func willSubmit(_ tasks: [WorkloadTask]) {
        record.withLock { record in
            for task in tasks { record.submitted[task.id] = task }
        }
    }

    /// Makes a call and notes it.
    /// - Returns: the call's value, or nil if it was refused or nobody knows.
    @discardableResult
    func call(
        _ kind: Call.Kind, _ tasks: [String], _ body: () async throws -> QueuedTask?
    ) async -> Call.Outcome {
        let from = Uptime.now
        var seen: QueuedTask?
        var outcome = Call.Outcome.ok
        do {
            seen = try await body()
        } catch let error as SchedulerError {
            // An internal error is one that Redis or the way to it caused.
            if case .internal = error { outcome = .unknown("\(error)") } else { outcome = .refused(error.code) }
        } catch {
            outcome = .unknown("\(error)")
        }
        let call = Call(kind: kind, tasks: tasks, from: from, to: .now, outcome: outcome, seen: seen)
        record.withLock { $0.calls.append(call) }
        return outcome
    }

    var calls: [Call] { record.withLock { $0.calls } }
    var submitted: [String: WorkloadTask] { record.withLock { $0.submitted } }
}
