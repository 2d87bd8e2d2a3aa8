import Foundation
import NIOCore

/// Follows tasks and batches until they have ended, and writes a line to stderr for each change.
///
/// Tasks are long-polled; batches are polled. If the server becomes unreachable, requests are retried (``Patience``):
/// the tasks do not depend on this server.
struct TaskFollower: Sendable {
    let api: APIClient
    let queue: String

    /// The wait of one long poll.
    private static let pollSeconds = 30
    /// Pause after an unchanged response that came at once, in case the server does not hold the long poll.
    private static let pause: Duration = .milliseconds(250)

    /// A task that has ended.
    struct Ended: Sendable {
        var task: TaskView
        /// The server's own text.
        var json: Data
    }

    /// Returns when the task has ended.
    /// - Throws: ``Failure`` if there is no such task, or if the server stays unreachable.
    func follow(_ id: String) async throws -> Ended {
        var last = ""
        var wait: Int?
        while true {
            let asked = ContinuousClock.now
            let seconds = wait
            let data = try await api.send(
                .GET, ["scheduler", "task", id], query: [("queue", queue), ("wait", seconds.map(String.init))],
                waiting: .seconds(seconds ?? 0))
            let task = try APIClient.decode(TaskView.self, data)
            let line = Self.line(task)
            if line != last {
                try Console.error.write(line + "\n")
                last = line
            } else if wait != nil, ContinuousClock.now - asked < Self.pause {
                try await Task.sleep(for: Self.pause)
            }
            if task.hasEnded { return Ended(task: task, json: data) }
            wait = Self.pollSeconds
        }
    }

    /// Returns when every task of the batch has ended.
    func followBatch(_ id: String) async throws -> (batch: BatchView, json: Data) {
        var last: BatchView?
        var pause = Duration.milliseconds(100)
        while true {
            let data = try await api.send(.GET, ["scheduler", "batch", id], query: [("queue", queue)])
            let batch = try APIClient.decode(BatchView.self, data)
            if batch != last { try Console.error.line(Self.line(batch)) }
            if batch.hasEnded { return (batch, data) }
            // A short batch ends soon. While nothing changes the pause doubles, up to 2 s.
            pause = batch == last ? min(pause * 2, .seconds(2)) : pause
            last = batch
            try await Task.sleep(for: pause)
        }
    }

    // MARK: Progress lines

    private static func line(_ task: TaskView) -> String {
        var line = ""
        if let worker = task.worker, task.taskState == .running || task.taskState == .assigned {
            line += " on \(worker)"
        }
        if let attempt = task.attempt, attempt > 1 { line += ", attempt \(attempt)" }
        if task.hasEnded {
            if let time = task.runningTime() { line += " in \(time)" }
            if let error = task.error { line += ": \(Self.text(error))" }
        } else if let position = task.queuePosition, task.taskState == .pending {
            line += ", position \(position)"
        }
        if let progress = task.progress, progress != .null, !task.hasEnded { line += "  \(progress.text)" }
        let state = task.stateCell.text(colour: Console.error.hasColour)
        return TerminalText.line(task.taskId) + "  \(state)" + TerminalText.line(line)
    }

    static func text(_ error: TaskView.Problem) -> String {
        [error.code, error.message].compactMap { $0 }.joined(separator: ": ")
    }

    private static func line(_ batch: BatchView) -> String {
        let parts = [
            (batch.pending, "pending"), (batch.assigned, "assigned"), (batch.running, "running"),
            (batch.completed, "completed"), (batch.failed, "failed"), (batch.timeout, "timed out"),
            (batch.cancelled, "cancelled"),
        ]
        let counts = parts.compactMap { count, name in count.flatMap { $0 > 0 ? "\($0) \(name)" : nil } }
        let next = batch.hasEnded ? batch.followUpTaskId.map { "; its follow-up is task \($0)" } ?? "" : ""
        return "batch \(batch.batchId)  \(batch.ended)/\(batch.total)  \(counts.joined(separator: ", "))\(next)"
    }
}
