import Foundation
import JSON
import Switchyard

/// Tables of tasks: one line for each task, or one task in detail.
enum TaskTables {
    static func list(_ tasks: [TaskView], now: Date = Date()) -> Table {
        var table = Table([
            .text("ID"), .text("STATE"), .text("PRIORITY"), .text("WORKER"), .number("TRIES"), .number("RAN"),
            .number("AGE"), .text("TASK"), .text("WAITS BECAUSE"),
        ])
        table.rows = tasks.map { task in
            [
                Table.Cell(task.taskId), task.stateCell, Table.Cell(task.priority), Table.Cell(task.worker),
                Table.Cell(task.attempt.map { $0 > 0 ? "\($0)" : "" }), Table.Cell(task.runningTime(now: now)),
                Table.Cell(HumanTime.age(since: task.submittedAt.flatMap(HumanTime.parse), now: now)),
                Table.Cell(task.what), Table.Cell(task.reason?.message),
            ]
        }
        return table
    }

    /// A table of names and values. Unknown values are omitted.
    /// - Parameter fields: the response by field name, from which the options are shown.
    static func details(_ task: TaskView, fields: [String: JSONValue] = [:], now: Date = Date()) -> Table {
        var table = Table([.text(""), .text("")])
        table.maxCellWidth = 1000
        func add(_ name: String, _ value: String?, _ colour: Colour? = nil) {
            if let value, !value.isEmpty { table.rows.append([Table.Cell(name, .dim), Table.Cell(value, colour)]) }
        }
        func time(_ text: String?) -> String? {
            guard let text, let date = HumanTime.parse(text) else { return text }
            let seconds = now.timeIntervalSince(date)
            return seconds >= 0
                ? "\(text)  \(HumanTime.duration(seconds)) ago" : "\(text)  in \(HumanTime.duration(-seconds))"
        }
        add("task", task.taskId, .bold)
        add("state", task.stateCell.text, task.stateCell.colour)
        add("waits", task.reason?.message)
        add("queue", task.queue)
        add("batch", task.batchId)
        add("position", task.queuePosition.map(String.init))
        add("priority", task.priority.map { $0 + (task.priorityReason.map { " (\($0))" } ?? "") })
        add("kind", task.kind)
        add("repo", task.repo)
        add("target", task.target)
        add("mr", task.mr)
        add("args", task.args.map(CommandLineText.joined))
        add("labels", task.labels?.joined(separator: ", "))
        add("command", task.command.map(CommandLineText.joined))
        add("cwd", task.cwd)
        add("payload", task.payload?.shownText)
        add("requires", task.requires?.joined(separator: ", "))
        add("resources", task.resources.flatMap(resources))
        add("after", task.dependsOn?.joined(separator: ", "))
        add("keys", keys(fields))
        for option in TaskOption.all where option.display == .row && !option.isResource {
            add(option.name.replacing("_", with: " "), fields[option.name]?.shownText)
        }
        add("time limit", task.timeoutSeconds.map(HumanTime.duration))
        add("tries", tries(task))
        add("worker", task.worker)
        add("submitted", time(task.submittedAt))
        add("not before", time(task.runAt))
        add("started", time(task.startedAt))
        add("finished", time(task.finishedAt))
        add(task.hasEnded ? "ran" : "running for", task.runningTime(now: now))
        if !task.hasEnded { add("lease until", time(task.leaseExpiresAt)) }
        add("progress", task.progress?.shownText)
        add("result", task.result?.shownText)
        add("error", task.error.map(TaskFollower.text), .red)
        return table
    }

    static func attempts(_ attempts: [TaskView.Attempt]) -> Table {
        var table = Table([
            .number("ATTEMPT"), .text("WORKER"), .text("OUTCOME"), .number("EXIT"), .number("RAN"), .text("STARTED"),
            .text("ERROR"),
        ])
        table.rows = attempts.map { attempt in
            let start = attempt.startedAt.flatMap(HumanTime.parse)
            let end = attempt.finishedAt.flatMap(HumanTime.parse)
            let ran = start.flatMap { start in end.map { HumanTime.duration($0.timeIntervalSince(start)) } }
            return [
                "\(attempt.attempt)", Table.Cell(attempt.worker),
                Table.Cell(attempt.outcome, attempt.outcome.flatMap(TaskView.colour(ofState:))),
                Table.Cell(attempt.exitCode.map(String.init)), Table.Cell(ran), Table.Cell(attempt.startedAt),
                Table.Cell(attempt.error.map(TaskFollower.text)),
            ]
        }
        return table
    }

    /// Formats resources as `cpu=2, gpu=1`; nil if there are none.
    static func resources(_ amounts: [String: JSONValue]) -> String? {
        amounts.isEmpty
            ? nil : amounts.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.plainText)" }.joined(separator: ", ")
    }

    /// Formats the keys as `affinity a, fairness b (weight 2)`; nil if there are none.
    private static func keys(_ fields: [String: JSONValue]) -> String? {
        let keys = TaskOption.all.compactMap { option -> String? in
            guard case .key(let label) = option.display, let key = fields[option.name]?.shownText else { return nil }
            let beside = TaskOption.all.compactMap { other -> String? in
                guard other.needs == option.name, case .besideKey(let format, let absent) = other.display,
                    let value = fields[other.name]?.shownText ?? absent
                else { return nil }
                return format.replacing("%", with: value)
            }
            return "\(label) \(key)" + (beside.isEmpty ? "" : " (\(beside.joined(separator: ", ")))")
        }
        return keys.isEmpty ? nil : keys.joined(separator: ", ")
    }

    private static func tries(_ task: TaskView) -> String? {
        guard let attempt = task.attempt else { return nil }
        let retries = task.maxRetries.map { ", \(max($0 &- (task.retryCount ?? 0), 0)) retries left" } ?? ""
        return "\(attempt)\(task.hasEnded ? "" : retries)"
    }
}

extension JSONValue {
    /// The text to show; nil for JSON's null.
    var shownText: String? { self == .null ? nil : plainText }
}
