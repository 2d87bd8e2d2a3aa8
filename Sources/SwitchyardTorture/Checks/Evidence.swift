import Foundation
import Switchyard
import SwitchyardTesting

/// All that is known after a run: what clients were told, what processes did, what went wrong, and what Redis has.
struct Evidence: Sendable {
    var calls: [Call]
    var submitted: [String: WorkloadTask]
    var executions: [Execution]
    /// When each worker's process ended by SIGKILL.
    var deaths: [String: [Uptime]]
    var faults: [FaultRecord]
    /// The tasks in Redis.
    var tasks: [String: QueuedTask]
    /// How many tasks have ended in each way, as the queue counts.
    var counts: [TaskState: Int]
    /// Ends of processes that nobody asked for.
    var processFailures: [String]
    /// The ends that Redis published, in order.
    var told: [Announcement] = []
    /// What replicas have said.
    var notices: Set<FarmProcess.Notice> = []
    /// Times, by Redis's clock, that came twice because the clock was set back.
    var repeatedTimes: [ClosedRange<Date>] = []
    /// When this machine itself stood still, as far as this process can tell.
    var stalls: [ClosedRange<Uptime>] = []
    /// When it was noticed that another server has the queue.
    var changes: [Uptime] = []
    /// When writes were acknowledged that wait for no Redis replicas.
    var writes: [Uptime] = []

    /// The executions of each task, by their starts.
    var executionsByTask: [String: [Execution]] {
        Dictionary(grouping: executions, by: \.task).mapValues { $0.sorted { $0.from < $1.from } }
    }

    /// The tasks whose submission was acknowledged.
    var acknowledged: Set<String> {
        Set(
            calls.filter { ($0.kind == .submit || $0.kind == .repeated) && $0.outcome == .ok }.flatMap { call in
                // In place of a task whose unique key another one has, the call returns that one.
                call.tasks.count == 1 ? [call.seen?.id ?? call.tasks[0]] : call.tasks
            })
    }

    /// The tasks that clients have retried, which begin anew.
    var retried: Set<String> { Set(calls.filter { $0.kind == .retry }.flatMap(\.tasks)) }

    /// Whether the order of times around this one cannot be told, because the clock was set back.
    func isRepeated(_ times: Date?...) -> Bool {
        repeatedTimes.contains { range in times.contains { $0.map(range.contains) == true } }
    }

    /// The evidence about the tasks that came after Redis had lost its data for the last time. Of those before nothing
    /// can be said: an id may begin anew.
    func afterLosses() -> Evidence {
        guard let last = faults.filter({ $0.kind == .flushAll }).map(\.to).max() else { return self }
        let before = Set(
            calls.filter { $0.kind == .submit && $0.from < last }.flatMap(\.tasks))
        var rest = self
        rest.calls.removeAll { call in
            // Or it returned such a task, which has come again, in place of another with its unique key.
            !before.isDisjoint(with: call.tasks) || call.seen.map { before.contains($0.id) } == true
        }
        rest.executions.removeAll { before.contains($0.task) }
        rest.told.removeAll { before.contains($0.task) }
        rest.tasks = tasks.filter { !before.contains($0.key) }
        return rest
    }

    /// When an execution certainly was over: its noted end, or the end of its worker's process. Nil: unknown.
    func end(of execution: Execution) -> Uptime? {
        execution.to ?? deaths[execution.worker]?.filter { $0 > execution.from }.min()
    }

    /// Whether the worker was stopped or cut off at some time between, so that it could not end its processes in time.
    func wasOutOfReach(_ worker: String, from: Uptime, to: Uptime) -> Bool {
        faults.contains { fault in
            guard fault.from < to, from < fault.to + 1 else { return false }
            switch fault.kind {
            case .suspendWorker: return fault.targets.contains(worker)
            case .suspendAll: return true
            default: return false
            }
        }
    }
}

/// Something that must not be.
package struct Violation: Sendable, CustomStringConvertible {
    /// The name of the rule.
    package var rule: String
    /// Which task, what was expected, what was found.
    package var finding: String
    package var description: String { "\(rule): \(finding)" }
}
