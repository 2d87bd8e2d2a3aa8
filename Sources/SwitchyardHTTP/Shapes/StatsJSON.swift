import JSON
import Switchyard

/// Statistics: the sums over all queues, and each queue by its name under `queues`.
enum StatsJSON {
    typealias Queue = (stats: QueueStats, demand: Demand)

    static func json(_ queues: [Queue]) -> JSONValue {
        var total = counts(queues)
        total.add("by_priority", byPriority(queues.map(\.stats)))
        total.add("classes", DemandJSON.classes(queues.map { ($0.stats.queue, $0.demand) }))
        total.add(
            "queues",
            .object(
                queues.map { queue in
                    var one = counts([queue])
                    one.add("by_priority", byPriority([queue.stats]))
                    one.add("classes", DemandJSON.classes([(queue.stats.queue, queue.demand)]))
                    one.add("paused", .bool(queue.stats.isPaused))
                    return JSONValue.Member(name: queue.stats.queue, value: one)
                }))
        return total
    }

    private static func counts(_ queues: [Queue]) -> JSONValue {
        let all = queues.map(\.stats)
        func sum(_ value: (QueueStats) -> Int) -> JSONValue { JSONValue(all.reduce(0) { $0 + value($1) }) }
        return [
            "pending_tasks": sum(\.pending), "ready_tasks": sum(\.ready), "held_tasks": sum(\.held),
            "waiting_tasks": sum(\.waiting), "blocked_tasks": sum(\.blocked),
            "assigned_tasks": sum(\.assigned), "running_tasks": sum(\.running), "completed_tasks": sum(\.completed),
            "failed_tasks": sum(\.failed), "timeout_tasks": sum(\.timeout), "cancelled_tasks": sum(\.cancelled),
            "total_workers": sum(\.totalWorkers), "idle_workers": sum(\.idleWorkers),
            "draining_workers": JSONValue(queues.reduce(0) { $0 + $1.demand.drainingWorkers }),
            "busy_workers": sum(\.busyWorkers), "cordoned_workers": sum(\.cordonedWorkers), "slots": sum(\.slots),
            "queue_full_errors": sum(\.queueFullErrors),
            "retries": sum(\.retries), "lost_attempts": sum(\.lost), "repaired": sum(\.repaired),
            "log_bytes": sum(\.logBytes), "log_budget_bytes": sum(\.logBudget), "logs_removed": sum(\.logsRemoved),
            "oldest_pending_seconds": JSONValue(all.map(\.oldestPending).max() ?? .zero),
            "unroutable_tasks": sum(\.unroutable),
            "desired_workers": JSONValue(queues.reduce(0) { $0 + $1.demand.desiredWorkers }),
        ]
    }

    /// The ready and blocked tasks by priority.
    private static func byPriority(_ all: [QueueStats]) -> JSONValue {
        .object(
            TaskPriority.allCases.map { priority in
                let count = all.reduce(0) { $0 + ($1.readyByPriority[priority] ?? 0) }
                return JSONValue.Member(name: priority.rawValue, value: JSONValue(count))
            })
    }
}
