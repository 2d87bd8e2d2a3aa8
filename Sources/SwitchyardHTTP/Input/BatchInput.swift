import JSON
import NIOCore
import Switchyard

/// The body of `POST /scheduler/tasks`: an array of tasks, a task on each line, or an object that names the batch.
struct BatchInput {
    var id: String?
    var tasks: [TaskInput]
    /// A task that runs once, when all tasks of the batch have ended.
    var onComplete: TaskInput?
    /// Whether it runs each time that the batch ends.
    var onCompleteAgain = false
    /// The body as one JSON value, in whichever form it was sent.
    var body: JSONValue

    /// Limits the work that one request can cause.
    static let maxTasks = 50_000

    init(_ value: JSONValue) throws {
        body = value
        switch value {
        case .array(let values):
            tasks = try Self.tasks(values)
        case .object:
            let fields = try Fields(value, known: ["batch_id", "tasks", "on_complete", "on_complete_again"])
            id = try fields.name("batch_id")
            guard case .array(let values)? = fields["tasks"] else {
                throw fields.problem("tasks", "an array of tasks", found: fields["tasks"] ?? .null)
            }
            tasks = try Self.tasks(values)
            onComplete = try Self.followUp(fields["on_complete"] ?? .null)
            onCompleteAgain = try fields.flag("on_complete_again") ?? false
            if onCompleteAgain, onComplete == nil {
                throw Problem.badRequest("on_complete_again", "expected on_complete, found none")
            }
        default:
            throw Problem.badRequest(
                "body", "expected an array of tasks, or an object with tasks, found \(value.shown)")
        }
    }

    /// Reads newline-delimited JSON; empty lines are skipped.
    init(lines: ByteBuffer) throws {
        var values: [JSONValue] = []
        for line in lines.readableBytesView.split(separator: UInt8(ascii: "\n")) {
            guard line.contains(where: { $0 > 0x20 }) else { continue }
            try Self.check(count: values.count + 1)
            values.append(try API.value(in: ByteBuffer(bytes: line), field: "tasks[\(values.count)]"))
        }
        body = .array(values)
        tasks = try Self.tasks(values)
    }

    private static func tasks(_ values: [JSONValue]) throws -> [TaskInput] {
        guard !values.isEmpty else { throw Problem.badRequest("tasks", "expected at least one task, found none") }
        try check(count: values.count)
        let tasks = try values.enumerated().map { try TaskInput($1, path: "tasks[\($0)].") }
        var seen: [String: Int] = [:]
        for (index, task) in tasks.enumerated() {
            guard let id = task.id else { continue }
            if let first = seen[id] {
                throw Problem.badRequest(
                    "tasks[\(index)].id", "expected an id of its own, found that of tasks[\(first)]")
            }
            seen[id] = index
        }
        return tasks
    }

    private static func followUp(_ value: JSONValue) throws -> TaskInput? {
        if value == .null { return nil }
        let path = "on_complete."
        let task = try TaskInput(value, path: path)
        if !task.scheduling.dependsOn.isEmpty {
            throw Problem.badRequest(
                "\(path)depends_on", "expected none: the task waits for the whole batch, found some")
        }
        if let key = task.scheduling.uniqueKey {
            throw Problem.badRequest("\(path)unique_key", "expected none here, found \(key)")
        }
        return task
    }

    private static func check(count: Int) throws {
        guard count <= maxTasks else {
            throw Problem.badRequest(
                "tasks", "expected at most \(maxTasks) tasks in a batch, found more", limit: maxTasks)
        }
    }
}
