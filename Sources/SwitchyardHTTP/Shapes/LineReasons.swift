import JSON
import Switchyard

/// Why the tasks of a page that stand in line wait: no worker serves what they need, or all that do are busy. Tasks
/// with the same requirements wait for the same workers, so one of them is explained for all.
enum LineReasons {
    /// Limit on the explanations for one page. Each may look at all workers.
    private static let explained = 10

    /// Returns the reasons by task id, of tasks that ``HoldJSON`` has no reason for.
    static func of(_ tasks: [QueuedTask], _ handle: SchedulerHandle) async throws -> [String: JSONValue] {
        let waiting = tasks.filter { $0.state == .pending && $0.heldBy == nil }
        var groups: [String: [QueuedTask]] = [:]
        var order: [String] = []
        for task in waiting {
            let needs = "\(task.scheduling.requires) \(task.scheduling.resources)"
            if groups[needs] == nil { order.append(needs) }
            groups[needs, default: []].append(task)
        }
        let found = try await withThrowingTaskGroup(of: (String, Explanation.Reason?).self) { group in
            for needs in order.prefix(explained) {
                guard let first = groups[needs]?.first else { continue }
                group.addTask { (needs, try await reason(first.id, handle)) }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        var reasons: [String: JSONValue] = [:]
        for (needs, reason) in found {
            for (index, task) in (groups[needs] ?? []).enumerated() {
                reasons[task.id] = ExplanationJSON.reason(index == 0 ? reason : forAll(reason))
            }
        }
        return reasons
    }

    /// Returns the first reason of a task that was in line a moment ago; nil if it is not any more.
    private static func reason(_ id: String, _ handle: SchedulerHandle) async throws -> Explanation.Reason? {
        do {
            return try await handle.explain(id).reasons.first
        } catch SchedulerError.taskNotFound {
            return nil
        }
    }

    /// The reason without what holds for one task only: each task has a position of its own.
    private static func forAll(_ reason: Explanation.Reason) -> Explanation.Reason {
        guard reason.code == "position" else { return reason }
        var shared = reason
        shared.message = "other tasks stand before it in its line"
        shared.details = [:]
        return shared
    }
}
