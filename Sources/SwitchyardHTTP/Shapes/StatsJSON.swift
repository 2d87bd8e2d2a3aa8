import Switchyard

/// Queues in numbers: the sums over all of them, and each by its name under `queues`.
enum StatsJSON {
    static func json(_ all: [QueueStats]) -> JSONValue {
        var total = counts(all)
        total.add("by_priority", byPriority(all))
        total.add(
            "queues",
            .object(
                all.map { stats in
                    var one = counts([stats])
                    one.add("by_priority", byPriority([stats]))
                    one.add("paused", .bool(stats.isPaused))
                    return JSONValue.Member(name: stats.queue, value: one)
                }))
        return total
    }

    private static func counts(_ all: [QueueStats]) -> JSONValue {
        func sum(_ value: (QueueStats) -> Int) -> JSONValue { JSONValue(all.reduce(0) { $0 + value($1) }) }
        return [
            "pending_tasks": sum(\.pending), "ready_tasks": sum(\.ready), "held_tasks": sum(\.held),
            "assigned_tasks": sum(\.assigned), "running_tasks": sum(\.running), "completed_tasks": sum(\.completed),
            "failed_tasks": sum(\.failed), "timeout_tasks": sum(\.timeout), "cancelled_tasks": sum(\.cancelled),
            "total_workers": sum(\.totalWorkers), "idle_workers": sum(\.idleWorkers),
            "busy_workers": sum(\.busyWorkers), "slots": sum(\.slots), "queue_full_errors": sum(\.queueFullErrors),
            "retries": sum(\.retries), "lost_attempts": sum(\.lost), "repaired": sum(\.repaired),
            "oldest_pending_seconds": JSONValue(all.map(\.oldestPending).max() ?? .zero),
            "unroutable_tasks": sum(\.unroutable), "desired_workers": sum(\.desiredWorkers),
        ]
    }

    /// The tasks in line, by how urgent they are.
    private static func byPriority(_ all: [QueueStats]) -> JSONValue {
        .object(
            TaskPriority.allCases.map { priority in
                let count = all.reduce(0) { $0 + ($1.readyByPriority[priority] ?? 0) }
                return JSONValue.Member(name: priority.rawValue, value: JSONValue(count))
            })
    }
}
