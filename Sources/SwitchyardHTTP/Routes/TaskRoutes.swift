import Hummingbird
import JSON
import ServiceLifecycle
import Switchyard
import Synchronization

// One task: reading, waiting, cancelling, changing its priority, explaining, retrying; and the list of tasks.

extension API {
    func addTasks(to routes: inout Routes) {
        routes.on(.get, "/scheduler/tasks") { request, _ in try await listTasks(request) }
        routes.on(.get, "/scheduler/task/:id") { request, context in
            let query = try Query(request, ["queue", "wait"])
            let handle = try handle(query)
            let id = try name(context, "id", field: "task_id")
            let wait = try query.seconds("wait", most: options.maxWait) ?? .zero
            let (task, isWanted) = try await task(id, handle, wait: wait, context)
            let reason = isWanted && task.state == .pending ? try await firstReason(id, handle) : nil
            return .json(TaskJSON.json(task, queue: handle.queue, reason: reason))
        }
        routes.on(.delete, "/scheduler/task/:id") { request, context in
            let query = try Query(request, ["queue", "reason"])
            let handle = try handle(query)
            let task = try await handle.cancelTask(
                try name(context, "id", field: "task_id"), reason: query["reason"])
            return .json(TaskJSON.json(task, queue: handle.queue))
        }
        routes.on(.patch, "/scheduler/task/:id") { request, context in
            let handle = try handle(try Query(request, ["queue"]))
            let id = try name(context, "id", field: "task_id")
            let fields = try Fields(try await json(request), known: ["priority"])
            guard let priority = try fields.choice("priority", TaskPriority.self) else {
                throw fields.problem("priority", "critical, high, normal or low", found: fields["priority"] ?? .null)
            }
            return .json(TaskJSON.json(try await handle.changePriority(id, to: priority), queue: handle.queue))
        }
        routes.on(.get, "/scheduler/task/:id/explain") { request, context in
            let handle = try handle(try Query(request, ["queue"]))
            return .json(ExplanationJSON.json(try await handle.explain(try name(context, "id", field: "task_id"))))
        }
        routes.on(.post, "/scheduler/task/:id/retry") { request, context in
            let handle = try handle(try Query(request, ["queue"]))
            let task = try await handle.retryTask(try name(context, "id", field: "task_id"))
            return .json(TaskJSON.json(task, queue: handle.queue))
        }
    }

    /// Returns the first reason of a task that was pending a moment ago; nil if there is none now.
    private func firstReason(_ id: String, _ handle: SchedulerHandle) async throws -> JSONValue? {
        do {
            return try await handle.explain(id).reasons.first.map(ExplanationJSON.reason)
        } catch SchedulerError.taskNotFound {
            return nil
        }
    }

    /// Returns the task. With `wait`, first waits for its state, attempt or progress to change, at most that long. Does
    /// not wait if the task has ended, and stops waiting when the client leaves or the server shuts down: the task is
    /// then as it was last read, and not wanted in detail. Very many clients may leave at once, and cost Redis nothing.
    private func task(
        _ id: String, _ handle: SchedulerHandle, wait: Duration, _ context: ClientContext
    ) async throws -> (task: QueuedTask, isWanted: Bool) {
        guard wait > .zero else { return (try await handle.getTask(id), true) }
        let latest = LatestTask()
        do {
            let task = try await whilePresent(context) {
                try await cancelWhenGracefulShutdown {
                    try await handle.waitForChange(of: id, timeout: wait) { first, now in
                        latest.task.withLock { $0 = now }
                        return first.state.isTerminal || first.state != now.state || first.attempt != now.attempt
                            || first.progress != now.progress
                    }
                }
            }
            return (task, true)
        } catch is CancellationError where !Task.isCancelled {
            if let task = latest.task.withLock({ $0 }) { return (task, false) }
            return (try await handle.getTask(id), false)
        }
    }

    /// The task as a long poll has last read it.
    private final class LatestTask: Sendable {
        let task = Mutex<QueuedTask?>(nil)
    }

    /// In a list, a longer payload or result is left out: a page of 500 tasks would have a gigabyte.
    private static let longestInList = 1024

    private func listTasks(_ request: Request) async throws -> Response {
        let query = try Query(
            request, ["queue", "state", "priority", "kind", "repo", "worker", "batch_id", "limit", "cursor"])
        let handle = try handle(query)
        var filter = SchedulerHandle.Filter()
        filter.state = try query.word("state", TaskState.self)
        filter.priority = try query.word("priority", TaskPriority.self)
        filter.kind = query["kind"]
        filter.repo = query["repo"]
        filter.worker = try query["worker"].map { try Name.validate($0, field: "worker") }
        filter.batch = try query["batch_id"].map { try Name.validate($0, field: "batch_id") }
        let page = try await handle.listTasks(
            filter, limit: try query.integer("limit", in: 1...500) ?? 50, cursor: query["cursor"],
            longest: Self.longestInList)
        let inLine = try await LineReasons.of(page.tasks, handle)
        return .json([
            "tasks": .array(
                page.tasks.map {
                    TaskJSON.json($0, queue: handle.queue, reason: HoldJSON.json($0) ?? inLine[$0.id])
                }),
            "cursor": JSONValue(page.cursor),
        ])
    }
}
