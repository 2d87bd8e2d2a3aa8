import ChildProcess
import Foundation
import Logging
import NIOCore
import Switchyard

/// Runs each task as a process: the task's own `command`, or else the worker's template.
///
/// The command is an argument vector; no shell is involved unless it names one. The process leads its own process
/// group, starts with a clean environment, reads the task's payload from its standard input, and its output streams to
/// the task's log. Stopping an attempt sends SIGTERM to the whole group and, after ``grace``, SIGKILL, so that no
/// process of the group survives.
public struct CommandHandler: TaskHandler {
    /// The command for tasks that have none.
    ///
    /// `{target}`, `{repo}`, `{mr}` and `{task_id}` are replaced by the task's values, and an argument `{args}` by the
    /// task's arguments. If the template is empty, a task without a command fails.
    public var template: [String]
    /// The time between SIGTERM and SIGKILL.
    public var grace: Duration
    /// The variables that a process inherits from the worker's own environment; it inherits no others.
    public var inheritedVariables: [String] = ["PATH", "HOME", "USER", "LANG", "TMPDIR"]

    /// Creates a handler.
    public init(template: [String] = [], grace: Duration = .seconds(5)) {
        self.template = template
        self.grace = grace
    }

    /// Runs the command of one attempt and returns how it ended.
    ///
    /// Exit code 0 completes the attempt. Its failure code is otherwise `ExitCode`, `Signal`, `CannotStart`, or
    /// `NoCommand`, which is not retried.
    public func run(_ attempt: Attempt) async -> AttemptOutcome {
        let task = attempt.task
        let request = task.request
        let arguments = request.command.isEmpty ? filledTemplate(task) : request.command
        guard !arguments.isEmpty else {
            return .failed(
                TaskFailure(
                    code: "NoCommand",
                    message:
                        "task \(task.id) has no command, and worker \(attempt.workerID) was started without one"
                ),
                isRetryable: false)
        }
        var command = ChildProcess.Command(arguments: arguments, environment: environment(for: attempt, request))
        command.workingDirectory = request.cwd
        if let payload = request.payload { command.standardInput = .bytes(Array(buffer: payload)) }
        let child: ChildProcess
        do {
            child = try await ChildProcess.start(command)
        } catch {
            return .failed(TaskFailure(code: "CannotStart", message: "\(error)"))
        }
        return await follow(child, attempt)
    }

    private func follow(_ child: ChildProcess, _ attempt: Attempt) async -> AttemptOutcome {
        await withTaskCancellationHandler {
            var tail = OutputTail()
            for await chunk in child.output {
                tail.append(chunk)
                await attempt.log.write(chunk.stream.rawValue, chunk.bytes)
            }
            let status = await child.waitForExit()
            return Self.outcome(status, lastWords: tail.lastLine)
        } onCancel: {
            // The whole group ends, even if it ignores SIGTERM. `waitForExit` returns when the leader has ended.
            Task { await child.terminate(grace: grace) }
        }
    }

    private static func outcome(_ status: ChildProcess.ExitStatus, lastWords: String?) -> AttemptOutcome {
        let result = CommandResult(status).json
        let exitCode = status.exitCode.map { Int($0) }
        if status.isSuccess { return .completed(result: result, exitCode: exitCode) }
        let message = "the command ended with \(status)" + (lastWords.map { ": \($0)" } ?? "")
        let code = status.signal == nil ? "ExitCode" : "Signal"
        return .failed(TaskFailure(code: code, message: message), result: result, exitCode: exitCode)
    }

    private func filledTemplate(_ task: QueuedTask) -> [String] {
        let values = [
            "{target}": task.request.target ?? "", "{repo}": task.request.repo ?? "", "{mr}": task.request.mr ?? "",
            "{task_id}": task.id,
        ]
        return template.flatMap { argument -> [String] in
            if argument == "{args}" { return task.request.args }
            // Inserted values are not scanned for placeholders: a value may itself contain braces.
            return [Self.fill(argument, values)]
        }
    }

    private static func fill(_ argument: String, _ values: [String: String]) -> String {
        var filled = ""
        var rest = argument[...]
        while let open = rest.firstIndex(of: "{") {
            filled += rest[..<open]
            rest = rest[open...]
            if let (name, value) = values.first(where: { rest.hasPrefix($0.key) }) {
                filled += value
                rest = rest.dropFirst(name.count)
            } else {
                filled.append("{")
                rest = rest.dropFirst()
            }
        }
        return filled + rest
    }

    /// Linux does not start a process that has a variable of 128 KiB or more.
    private static let maxVariableBytes = 120_000

    /// Returns nil if the results are too long for a variable: the command can then read them from the server by task
    /// id.
    private func dependencyResults(for attempt: Attempt) -> String? {
        guard let results = attempt.dependencyResults, results.readableBytes <= Self.maxVariableBytes else {
            return nil
        }
        return String(buffer: results)
    }

    private func environment(for attempt: Attempt, _ request: BuildRequest) -> [String: String] {
        let own = ProcessInfo.processInfo.environment
        var environment: [String: String] = [:]
        for name in inheritedVariables { environment[name] = own[name] }
        environment.merge(request.environment) { _, task in task }
        environment["SWITCHYARD_TASK_ID"] = attempt.id
        environment["SWITCHYARD_ATTEMPT"] = String(attempt.number)
        environment["SWITCHYARD_WORKER_ID"] = attempt.workerID
        environment["SWITCHYARD_QUEUE"] = attempt.queue
        environment["SWITCHYARD_REPO"] = request.repo
        environment["SWITCHYARD_TARGET"] = request.target
        environment["SWITCHYARD_MR"] = request.mr
        environment["TRACEPARENT"] = request.traceparent
        environment["SWITCHYARD_DEPENDENCY_RESULTS"] = dependencyResults(for: attempt)
        return environment
    }
}
