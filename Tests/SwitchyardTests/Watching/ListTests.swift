import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Lists")
struct ListTests {
    /// Fills a queue with tasks in every state, of every priority and two repositories.
    private func fill(_ queue: TestQueue) async throws {
        _ = try await queue.worker("w1", slots: 100)
        _ = try await queue.worker("w2", slots: 100)
        var n = 0
        func submit(_ count: Int, _ options: [String: String] = [:]) async throws {
            for _ in 0..<count {
                let repo = n % 2 == 0 ? "even" : "odd"
                let priority = TaskPriority.allCases[n % 4]
                try await queue.submit("t\(n)", priority: priority, options.merging(["repo": repo]) { $1 })
                n += 1
            }
        }
        try await submit(24)
        for (worker, outcome) in [("w1", "completed"), ("w2", "failed"), ("w1", "timeout")] {
            for task in try await queue.pull(worker, max: 5, start: true) {
                try await queue.finish(worker, task.id, attempt: 1, outcome, ["retryable": "0"])
            }
        }
        for task in try await queue.pull("w1", max: 4, start: true) { try await queue.handle.cancelTask(task.id) }
        try await submit(8)
        try await queue.pull("w1", max: 3, start: true)
        try await queue.pull("w2", max: 4)
        try await submit(5, ["delay_ms": "60000"])
        try await submit(6)
    }

    private func pages(
        _ queue: TestQueue, _ filter: SchedulerHandle.Filter, limit: Int
    ) async throws -> [String] {
        var ids: [String] = []
        var cursor: String?
        repeat {
            let page = try await queue.handle.listTasks(filter, limit: limit, cursor: cursor)
            ids += page.tasks.map(\.id)
            cursor = page.cursor
        } while cursor != nil
        return ids
    }

    @Test func pagingMeetsEveryTaskOnceWhateverTheSizeOfAPage() async throws {
        try await TestQueue.run { queue in
            try await fill(queue)
            let all = try await queue.snapshot().taskIDs
            #expect(all.count == 43)
            let whole = try await pages(queue, .init(), limit: 500)
            #expect(whole.sorted() == all)
            for limit in [1, 2, 7, 43, 44] {
                #expect(try await pages(queue, .init(), limit: limit) == whole)
            }
        }
    }

    @Test func filtersShowExactlyWhatTheyName() async throws {
        try await TestQueue.run { queue in
            try await fill(queue)
            let snapshot = try await queue.snapshot()
            var filters = TaskState.allCases.map { state in
                var filter = SchedulerHandle.Filter()
                filter.state = state
                return filter
            }
            for (repo, worker, priority) in [
                ("odd", String?.none, TaskPriority?.none), ("even", "w1", nil), ("odd", "w2", .high),
                ("none", nil, nil),
            ] {
                var filter = SchedulerHandle.Filter()
                filter.repo = repo
                filter.worker = worker
                filter.priority = priority
                filters.append(filter)
                filter.state = .completed
                filters.append(filter)
            }
            for filter in filters {
                let expected = snapshot.taskIDs.filter { id in
                    let fields = snapshot.task(id)
                    return (filter.state == nil || fields["state"] == filter.state?.rawValue)
                        && (filter.repo == nil || fields["repo"] == filter.repo)
                        && (filter.worker == nil || fields["worker"] == filter.worker)
                        && (filter.priority == nil || fields["priority"] == filter.priority?.rawValue)
                }
                for limit in [3, 100] {
                    #expect(try await pages(queue, filter, limit: limit).sorted() == expected, "\(filter)")
                }
            }
        }
    }

    @Test func noTaskIsMissedWhileLeasesAreRenewedBetweenPages() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 10)
            for n in 0..<10 { try await queue.submit("t\(n)") }
            _ = try await worker.pull(max: 10, holding: 0)
            var filter = SchedulerHandle.Filter()
            filter.state = .running
            var met: Set<String> = []
            var cursor: String?
            var last: String?
            for _ in 0..<30 {
                let page = try await queue.handle.listTasks(filter, limit: 2, cursor: cursor)
                met.formUnion(page.tasks.map(\.id))
                last = page.tasks.last?.id
                cursor = page.cursor
                // The lease of the task at the end of the page is renewed, so the task moves behind all others.
                try await Task.sleep(for: .milliseconds(2))
                if let last { _ = try await worker.heartbeat([(last, 1, nil)]) }
                if cursor == nil || met.count == 10 { break }
            }
            #expect(met.count == 10)
        }
    }

    @Test func aBadCursorIsRefused() async throws {
        try await TestQueue.run { queue in
            for cursor in ["x", "leases:", "leases:1", "nowhere:1:t", "leases:1:bad id", "leases:-1:t"] {
                try await expectError("BadRequest") { _ = try await queue.handle.listTasks(cursor: cursor) }
            }
            for limit in [0, 501] {
                try await expectError("BadRequest") { _ = try await queue.handle.listTasks(limit: limit) }
            }
        }
    }
}
