import Foundation

/// One view of `top`, as text.
struct TopView: Sendable {
    var queue: String
    var stats: StatsView
    var workers: [WorkersView.Worker]
    var running: [TaskView]
    var ended: [TaskView]

    /// Returns the view as text.
    /// - Parameter rows: the number of lines that fit. The longest part is cut first.
    func text(rows: Int = 60, colour: Bool, now: Date = Date()) -> String {
        let head = summary(colour: colour)
        let parts = [
            part("WORKERS", workersTable(now: now), colour), part("RUNNING", runningTable(now: now), colour),
            part("LATEST", endedTable(now: now), colour),
        ].filter { !$0.isEmpty }
        let room = rows - head.count - parts.count
        let fitted = Self.fit(parts.map(\.count), into: max(room, parts.count))
        let shown = zip(parts, fitted).flatMap { part, most in [""] + Self.cut(part, to: most) }
        return (head + shown).map { $0 + "\n" }.joined()
    }

    private func summary(colour: Bool) -> [String] {
        let ended = [
            (stats.completedTasks, "completed", Colour?.none), (stats.failedTasks, "failed", .red),
            (stats.timeoutTasks, "timed out", .red), (stats.cancelledTasks, "cancelled", .yellow),
        ]
        func words(_ counts: [(Int?, String, Colour?)]) -> String {
            counts.map { count, name, alarm in
                let text = "\(count ?? 0) \(name)"
                return (count ?? 0) > 0 ? alarm?.paint(text, if: colour) ?? text : text
            }.joined(separator: ", ")
        }
        let priorities = ["critical", "high", "normal", "low"].compactMap { name in
            stats.byPriority?[name]?.int.flatMap { $0 > 0 ? "\($0) \(name)" : nil }
        }
        // The numbers are the server's: &+ does not trap.
        let slots = workers.reduce(0) { $0 &+ ($1.slots ?? 0) }
        let busy = workers.reduce(0) { $0 &+ ($1.busySlots ?? 0) }
        let draining = workers.count { $0.draining == true }
        var waiting = words([(stats.pendingTasks, "pending", nil)])
        if !priorities.isEmpty { waiting += " (\(priorities.joined(separator: ", ")))" }
        if let oldest = stats.oldestPendingSeconds, oldest > 0 { waiting += ", oldest \(HumanTime.duration(oldest))" }
        var lines = [
            Colour.bold.paint("switchyard", if: colour) + "  queue \(queue)"
                + (stats.queues?[queue]?["paused"] == .bool(true)
                    ? "  " + Colour.yellow.paint("paused", if: colour) : ""),
            waiting,
            words([(stats.runningTasks, "running", nil), (stats.assignedTasks, "assigned", nil)]) + ", " + words(ended),
            "\(Self.count(workers.count, "worker")), \(busy) of \(Self.count(slots, "slot")) busy"
                + (draining > 0 ? ", " + Colour.yellow.paint("\(draining) draining", if: colour) : "")
                + (stats.desiredWorkers.map { ", \(Self.count($0, "worker")) wanted" } ?? ""),
        ]
        if let unroutable = stats.unroutableTasks, unroutable > 0 {
            lines.append(
                Colour.yellow.paint("\(Self.count(unroutable, "task")) that no worker could take", if: colour))
        }
        return lines
    }

    private static func count(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

    private func workersTable(now: Date) -> Table {
        ListWorkers.table(
            workers.sorted { ($0.busySlots ?? 0, $1.workerId) > ($1.busySlots ?? 0, $0.workerId) }, now: now)
    }

    private func runningTable(now: Date) -> Table {
        var table = Table([
            .text("ID"), .text("PRIORITY"), .text("WORKER"), .number("TRIES"), .number("RUNS"), .text("TASK"),
        ])
        table.rows = running.sorted { ($0.startedAt ?? "") < ($1.startedAt ?? "") }.map { task in
            [
                Table.Cell(task.taskId), Table.Cell(task.priority), Table.Cell(task.worker),
                Table.Cell(task.attempt.map(String.init)), Table.Cell(task.runningTime(now: now)),
                Table.Cell(task.what),
            ]
        }
        return table
    }

    private func endedTable(now: Date) -> Table {
        var table = Table([
            .text("ID"), .text("STATE"), .text("WORKER"), .number("RAN"), .number("AGO"), .text("TASK"),
        ])
        table.rows = ended.map { task in
            [
                Table.Cell(task.taskId), task.stateCell, Table.Cell(task.worker),
                Table.Cell(task.runningTime(now: now)),
                Table.Cell(HumanTime.age(since: task.finishedAt.flatMap(HumanTime.parse), now: now)),
                Table.Cell(task.what),
            ]
        }
        return table
    }

    /// Returns a title and the lines of a table, or nothing for an empty table.
    private func part(_ title: String, _ table: Table, _ colour: Bool) -> [String] {
        guard !table.rows.isEmpty else { return [] }
        let lines = table.render(colour: colour).split(separator: "\n").map(String.init)
        return [Colour.bold.paint("\(title) (\(table.rows.count))", if: colour)] + lines
    }

    // MARK: Fitting

    /// Returns the number of lines of each part: takes lines from the longest part until all fit. Each keeps at least
    /// one.
    static func fit(_ lengths: [Int], into room: Int) -> [Int] {
        var fitted = lengths
        while fitted.reduce(0, +) > room, let longest = fitted.max(), longest > 1,
            let index = fitted.firstIndex(of: longest)
        {
            fitted[index] -= 1
        }
        return fitted
    }

    private static func cut(_ lines: [String], to most: Int) -> [String] {
        guard lines.count > most else { return lines }
        return lines.prefix(max(most - 1, 0)) + ["…and \(lines.count - max(most - 1, 0)) more"]
    }
}
