import JSON
import NIOCore
import Switchyard

/// The body of `POST /scheduler/tasks`: an array of tasks, a task on each line, or an object that names the batch.
struct BatchInput: Sendable {
    var id: String?
    /// The tasks; each has an id, but no token yet.
    var tasks: [QueuedTask] = []
    /// The queues that the tasks name.
    var queues: [String?] = []
    var rejectIfNoWorkers = false
    /// How many Redis replicas to wait for: the most that the batch or a task of it says. Nil: as many as the queue
    /// says.
    var replicasToWait: Int?
    /// A task that runs once, when all tasks of the batch have ended.
    var onComplete: TaskInput?
    /// Whether it runs each time that the batch ends.
    var onCompleteAgain = false
    /// The token of the request, if it has an `Idempotency-Key`.
    var token: String?

    /// Limits the work that one request can cause.
    static let maxTasks = 50_000

    fileprivate mutating func wait(for replicas: Int?) {
        if let replicas { replicasToWait = max(replicas, replicasToWait ?? 0) }
    }
}

/// Reads a batch while its body arrives. It keeps the tasks, and of the text only what belongs to none or to the last.
struct BatchReader: Sendable {
    private enum Form: Sendable {
        case json(BatchSplitter)
        case lines(BodyLines)
    }

    private var form: Form
    private var batch = BatchInput()
    /// The index of each id that a client chose.
    private var ids: [String: Int] = [:]
    private let key: String?
    /// The digest of the tasks, for a repetition of the request.
    private var digest: ContentDigest
    private let longestTask: Int

    /// - Parameters:
    ///   - key: the `Idempotency-Key` of the request.
    ///   - longestTask: limit on the text of a task, and on what is not a task.
    init(_ type: BodyType, key: String?, longestTask: Int) {
        form = type == .lines ? .lines(BodyLines()) : .json(BatchSplitter())
        self.key = key
        self.longestTask = longestTask
        digest = Self.emptyDigest(key)
    }

    private static func emptyDigest(_ key: String?) -> ContentDigest { ContentDigest("\(key ?? "")\n[") }

    /// - Throws: ``Problem`` as soon as something is wrong.
    mutating func feed(_ bytes: ByteBuffer) async throws {
        switch form {
        case .json(var splitter):
            // Two references to the splitter would copy its bytes.
            form = .lines(BodyLines())
            let found = try Self.reading(field: "body") { try splitter.feed(bytes.readableBytesView) }
            let (task, head) = (splitter.task.count, splitter.head.count)
            form = .json(splitter)
            for item in found {
                switch item {
                case .task(let text): try await add(text)
                case .newList:
                    (batch.tasks, batch.queues) = ([], [])
                    (batch.rejectIfNoWorkers, batch.replicasToWait) = (false, nil)
                    (ids, digest) = ([:], Self.emptyDigest(key))
                }
            }
            try check(task, "tasks[\(batch.tasks.count)]")
            try check(head, "body")
        case .lines(var lines):
            form = .lines(BodyLines())
            let found = lines.feed(bytes.readableBytesView)
            let rest = lines.line.count
            form = .lines(lines)
            for line in found { try await add(line) }
            try check(rest, "tasks[\(batch.tasks.count)]")
        }
    }

    /// Returns the batch when the whole body was fed.
    mutating func finish() async throws -> BatchInput {
        switch form {
        case .json(let splitter): try readHead(splitter.head)
        case .lines(var lines):
            for line in lines.finish() { try await add(line) }
            if key != nil { batch.token = tokenOfList }
        }
        guard !batch.tasks.isEmpty else {
            throw Problem.badRequest("tasks", "expected at least one task, found none")
        }
        return batch
    }

    private var tokenOfList: String {
        var whole = digest
        whole.update("]")
        return whole.hex
    }

    private func check(_ bytes: Int, _ field: String) throws {
        guard bytes <= longestTask else {
            throw Problem(
                .contentTooLarge, code: "BadRequest", "\(field): expected at most \(longestTask) bytes, found more",
                field: field, limit: longestTask)
        }
    }

    private mutating func add(_ text: [UInt8]) async throws {
        let index = batch.tasks.count
        try check(text.count, "tasks[\(index)]")
        guard index < BatchInput.maxTasks else {
            throw Problem.badRequest(
                "tasks", "expected at most \(BatchInput.maxTasks) tasks in a batch, found more",
                limit: BatchInput.maxTasks)
        }
        let hasKey = key != nil
        let (task, canonical) = try await LargeBodies.parse(text.count) {
            let value = try Self.reading(field: "tasks[\(index)]") { try JSONReader.read(text) }
            return (try TaskInput(value, path: "tasks[\(index)]."), hasKey ? value.canonical.text : "")
        }
        if let id = task.id {
            if let first = ids.updateValue(index, forKey: id) {
                throw Problem.badRequest(
                    "tasks[\(index)].id", "expected an id of its own, found that of tasks[\(first)]")
            }
        }
        batch.queues.append(task.queue)
        batch.rejectIfNoWorkers = batch.rejectIfNoWorkers || task.rejectIfNoWorkers
        batch.wait(for: task.replicasToWait)
        batch.tasks.append(task.task)
        if hasKey { digest.update(index == 0 ? canonical : "," + canonical) }
    }

    private mutating func readHead(_ head: [UInt8]) throws {
        let value = try Self.reading(field: "body") { try JSONReader.read(head) }
        switch value {
        case .array: if key != nil { batch.token = tokenOfList }
        case .object:
            let fields = try Fields(
                value, known: ["batch_id", "tasks", "on_complete", "on_complete_again", "replicas_to_wait"])
            batch.wait(for: try fields.integer("replicas_to_wait", in: TaskInput.replicas))
            batch.id = try fields.name("batch_id")
            guard case .array? = fields["tasks"] else {
                throw fields.problem("tasks", "an array of tasks", found: fields["tasks"] ?? .null)
            }
            batch.onComplete = try Self.followUp(fields["on_complete"] ?? .null)
            batch.wait(for: batch.onComplete?.replicasToWait)
            batch.onCompleteAgain = try fields.flag("on_complete_again") ?? false
            if batch.onCompleteAgain, batch.onComplete == nil {
                throw Problem.badRequest("on_complete_again", "expected on_complete, found none")
            }
            // The order of the members does not matter, so the tasks come last, whatever was sent first.
            if let key { batch.token = ContentDigest("\(key)\n\(value.canonical.text)\n\(tokenOfList)").hex }
        default:
            throw Problem.badRequest(
                "body", "expected an array of tasks, or an object with tasks, found \(value.shown)")
        }
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

    private static func reading<Value>(field: String, _ read: () throws -> Value) throws -> Value {
        do {
            return try read()
        } catch let error as JSONReader.Failure {
            throw Problem.badRequest(
                field, "cannot read the JSON: \(error.message) (line \(error.line), byte \(error.byte))")
        }
    }
}
