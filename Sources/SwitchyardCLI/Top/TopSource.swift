import Foundation

/// Reads the data that `top` shows.
///
/// It requests ended tasks only when their number has changed: to find the few failed tasks among many completed ones
/// costs the server more than all other requests together.
struct TopSource: Sendable {
    let api: APIClient
    let queue: String

    private static let shownTasks = 50
    private var counts: [String: Int] = [:]
    private var ended: [String: [TaskView]] = [:]

    init(api: APIClient, queue: String) {
        // A picture that cannot be read is read again soon, as a whole.
        self.api = api.withoutRepetition
        self.queue = queue
    }

    mutating func read() async throws -> TopView {
        let query: [(String, String?)] = [("queue", queue)]
        async let stats = api.send(StatsView.self, .GET, ["scheduler", "stats"], query: query)
        async let workers = api.send(WorkersView.self, .GET, ["scheduler", "workers"], query: query)
        async let running = tasks("running")
        let now = try await stats
        let numbers = [
            ("completed", now.completedTasks), ("failed", now.failedTasks), ("timeout", now.timeoutTasks),
            ("cancelled", now.cancelledTasks),
        ]
        for (state, count) in numbers where counts[state] != count {
            ended[state] = try await tasks(state)
            counts[state] = count
        }
        let latest = ended.values.joined().sorted { ($0.finishedAt ?? "") > ($1.finishedAt ?? "") }
        return try await TopView(
            queue: queue, stats: now, workers: workers.workers, running: running,
            ended: Array(latest.prefix(Self.shownTasks)))
    }

    private func tasks(_ state: String) async throws -> [TaskView] {
        let (tasks, _) = try await TaskPages.fetch(
            api, queue: queue, limit: Self.shownTasks, filter: [("state", state)])
        return try tasks.map { try APIClient.decode(TaskView.self, Data($0.bytes)) }
    }
}
