import ArgumentParser
import Foundation
import Switchyard

/// Submits a task, or a file of tasks as one batch, and optionally follows it until it has ended.
///
/// Only the id (or JSON) is written to stdout, so that a script can read it; everything else goes to stderr. A
/// submission whose response is lost is repeated under its Idempotency-Key, so that it takes effect once. If it fails
/// nevertheless, the message names the id under which the task or batch may have been accepted.
struct Submit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Submit a task, or many as one batch.",
        usage: """
            switchyard submit [options] -- COMMAND…
            switchyard submit [options] --repo REPO --target TARGET [--arg ARG…]
            switchyard submit [options] --file tasks.ndjson
            """,
        discussion: """
            Prints the task's id on stdout, and its status on stderr. With --wait it follows the task until it has \
            ended, and exits with 0 if it completed, 2 if it failed, 3 if it timed out, 4 if it was cancelled.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup(title: "Task Options") var task: TaskOptions

    @Option(
        help: ArgumentHelp(
            "What to do if no registered worker can run it (default queue).", valueName: "queue|reject"))
    var ifNoWorkers: IfNoWorkers?

    @Option(
        help: ArgumentHelp(
            "How many Redis replicas to wait for, at most a second (default: the queue's replicas_to_wait).",
            valueName: "n"))
    var replicasToWait: Int?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "A file with a task per line as JSON, submitted as one batch, or none; - reads stdin.", valueName: "path"))
    var file: String?

    @Option(help: ArgumentHelp("The batch's id, with --file (default: the server generates one).", valueName: "id"))
    var batchID: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "A task that runs once when the whole batch has ended, with --file; @FILE reads a file.",
            valueName: "json|@file"))
    var onComplete: String?

    @Flag(help: "Run the task of --on-complete each time that the batch has ended, also after a retry.")
    var onCompleteAgain = false

    @Flag(name: .shortAndLong, help: "Follow it until it has ended, with progress on stderr.")
    var wait = false

    @Argument(parsing: .postTerminator, help: "What to run: an argument vector, never passed through a shell.")
    var command: [String] = []

    enum IfNoWorkers: String, ExpressibleByArgument, CaseIterable, Sendable { case queue, reject }

    func validate() throws {
        if onCompleteAgain, onComplete == nil {
            throw ValidationError("--on-complete-again: expected --on-complete, found none")
        }
        if file != nil {
            if let flag = (task.given + (ifNoWorkers == nil ? [] : ["--if-no-workers"])).first {
                throw ValidationError("\(flag) is for one task; with --file it is a field")
            }
            if !command.isEmpty { throw ValidationError("expected --file or a command, found both") }
            return
        }
        if onComplete != nil { throw ValidationError("--on-complete is for --file") }
        if batchID != nil { throw ValidationError("--batch-id is for --file") }
        guard !command.isEmpty || task.repo != nil || task.target != nil || task.payload != nil else {
            throw ValidationError("nothing to run: expected -- COMMAND, --repo, --target, --payload or --file")
        }
        if task.delay != nil, task.runAt != nil { throw ValidationError("expected --delay or --run-at, found both") }
    }

    func run() async throws {
        if let file {
            try await submitBatch(InputFile.read(file))
        } else {
            try await submitTask()
        }
    }

    private func submitTask() async throws {
        let (api, queue) = try await server.connect()
        let id = task.id ?? QueuedTask.randomID()
        let body = try task.body(
            command: command, queue: queue, id: id, rejectIfNoWorkers: ifNoWorkers == .reject,
            replicasToWait: replicasToWait)
        let name = "task \(id) of queue \(queue) (switchyard get\(Self.queueFlag(queue)) \(id))"
        let data = try await Self.naming(name) {
            try await api.submit(
                ["scheduler", "task"], body: .json(body), idempotencyKey: UUID().uuidString, name: name)
        }
        let submitted = try APIClient.decode(SubmissionView.self, data)
        if !output.isJSON { try Console.out.line(submitted.taskId) }
        if submitted.unique == true {
            let state = submitted.state.map { " (\($0))" } ?? ""
            try Console.error.line("nothing was added: task \(submitted.taskId)\(state) has this unique key already")
        }
        try warn(submitted.replicated)
        guard wait else {
            if output.isJSON { return try output.writeJSON(data) }
            if submitted.unique == true { return }
            let reason = submitted.status == "queued" ? await Self.reason(submitted.taskId, api, queue) : nil
            return try Console.error.line(submitted.line + (reason.map { "; it waits: \($0)" } ?? ""))
        }
        let follower = TaskFollower(api: api, queue: queue)
        let ended = try await Interruption.saying(
            "interrupted; task \(submitted.taskId) goes on "
                + "(to end it: switchyard cancel\(Self.queueFlag(queue)) \(submitted.taskId))"
        ) {
            try await follower.follow(submitted.taskId)
        }
        if output.isJSON { try output.writeJSON(ended.json) }
        let status = ended.task.exitStatus
        if status != .ok { throw Failure(status) }
    }

    /// Submits. Ctrl-C meanwhile says under which name the submission may have been accepted.
    private static func naming(_ name: String, _ submit: () async throws -> Data) async throws -> Data {
        try await Interruption.saying(
            "interrupted; it is not known whether the submission was accepted. If it was, it is \(name).", submit)
    }

    /// Says that fewer Redis replicas than asked for have the submission.
    private func warn(_ replicated: Bool?) throws {
        guard replicated == false else { return }
        try Console.error.line(
            "submitted, but not replicated in time: if the primary of Redis fails now, it may be lost")
    }

    /// Returns why a queued task waits; nil if it does not any more.
    private static func reason(_ id: String, _ api: APIClient, _ queue: String) async -> String? {
        // The task is submitted: that the reason cannot be read is no failure of the command.
        let task = try? await api.withoutRepetition.send(
            TaskView.self, .GET, ["scheduler", "task", id], query: [("queue", queue)])
        return task?.reason?.message
    }

    /// The `--queue` flag for a command that a message suggests.
    private static func queueFlag(_ queue: String) -> String { queue == "default" ? "" : " --queue \(queue)" }

    private func submitBatch(_ tasks: Data) async throws {
        let (api, defaultQueue, isDefault) = try await server.connectNotingDefault()
        // The tasks may name their queue, and a queue in the query must be the same. So the default is not sent.
        let followUp = try onComplete.map { try JSONArgument.text($0, flag: "--on-complete") }
        let file = try BatchFile(tasks)
        let key = UUID().uuidString
        let named = file.queue ?? defaultQueue
        let id = batchID ?? IdempotencyKey.batchID(key, queue: named)
        let name = "batch \(id) of queue \(named) (switchyard list\(Self.queueFlag(named)) --batch \(id))"
        let data = try await Self.naming(name) {
            try await api.submit(
                ["scheduler", "tasks"], query: [("queue", isDefault ? nil : defaultQueue)],
                body: try file.body(
                    batchID: batchID, onComplete: followUp, onCompleteAgain: onCompleteAgain,
                    replicasToWait: replicasToWait),
                idempotencyKey: key, name: name)
        }
        let submitted = try APIClient.decode(BatchSubmissionView.self, data)
        let batch = submitted.batchId
        let queue = submitted.tasks.first?.queue ?? defaultQueue
        if !output.isJSON { try Console.out.line(batch) }
        try warn(submitted.replicated)
        let known = submitted.tasks.count { $0.unique == true }
        if known > 0 { try Console.error.line("\(known) of the tasks were there already, by their unique keys") }
        guard wait else {
            if output.isJSON { return try output.writeJSON(data) }
            return try Console.error.line(
                "\(submitted.tasks.count) tasks submitted; switchyard list\(Self.queueFlag(queue)) --batch \(batch)")
        }

        let follower = TaskFollower(api: api, queue: queue)
        let (end, json) = try await Interruption.saying(
            "interrupted; batch \(batch) goes on "
                + "(to end it: switchyard cancel\(Self.queueFlag(queue)) --batch \(batch))"
        ) {
            try await follower.followBatch(batch)
        }
        if output.isJSON { try output.writeJSON(json) }
        try await listUnsuccessful(end, api: api, queue: queue)
        let counts: [(Int?, ExitStatus)] = [
            (end.failed, .taskFailed), (end.timeout, .taskTimedOut), (end.cancelled, .taskCancelled),
        ]
        let status = ExitStatus.worst(counts.filter { ($0.0 ?? 0) > 0 }.map(\.1))
        if status != .ok { throw Failure(status) }
    }

    /// Limit on the lines about tasks that did not complete.
    private static let maxUnsuccessful = 100

    /// Lists on stderr the tasks of a batch that did not complete.
    private func listUnsuccessful(_ batch: BatchView, api: APIClient, queue: String) async throws {
        var views: [TaskView] = []
        for (state, count) in [("failed", batch.failed), ("timeout", batch.timeout), ("cancelled", batch.cancelled)] {
            let room = Self.maxUnsuccessful - views.count
            guard let count, count > 0, room > 0 else { continue }
            let (tasks, _) = try await TaskPages.fetch(
                api, queue: queue, limit: min(count, room), filter: [("batch_id", batch.batchId), ("state", state)])
            views += try tasks.map { try APIClient.decode(TaskView.self, Data($0.bytes)) }
        }
        guard !views.isEmpty else { return }
        var table = Table([.text("ID"), .text("STATE"), .text("ERROR"), .text("TASK")])
        table.rows = views.map { task in
            [
                Table.Cell(task.taskId), task.stateCell, Table.Cell(task.error.map(TaskFollower.text)),
                Table.Cell(task.what),
            ]
        }
        try Console.error.write(table.render(colour: Console.error.hasColour))
        let hidden = batch.total - (batch.completed ?? 0) - views.count
        if hidden > 0 {
            try Console.error.line(
                "…and \(hidden) more: switchyard list\(Self.queueFlag(queue)) --batch \(batch.batchId)")
        }
    }
}

extension SubmissionView {
    /// The status of the submission, its position and its priority, for people.
    fileprivate var line: String {
        var parts = [status ?? state ?? "accepted"]
        if let queuePosition, status != "dispatched" { parts.append("position \(queuePosition)") }
        if let priority { parts.append("priority \(priority)" + (priorityReason.map { " (\($0))" } ?? "")) }
        return parts.joined(separator: ", ")
    }
}
