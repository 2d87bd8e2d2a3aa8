import ChildProcess
import Foundation
import Logging
import NIOCore
import Switchyard

/// Runs each task as a process: the task's own `command`, or else the worker's template.
///
/// The command is an argument vector; no shell is involved unless it names one. The process leads its own process
/// group, starts with a clean environment, reads the task's payload from its standard input, and its output streams to
/// the task's log until nobody can write any more. Stopping an attempt sends SIGTERM to the whole group and, after
/// ``grace``, SIGKILL, so that no process of the group survives.
public struct CommandHandler: TaskHandler {
    /// The command for tasks that have none.
    ///
    /// `{target}`, `{repo}`, `{mr}` and `{task_id}` are replaced by the task's values, and an argument `{args}` by the
    /// task's arguments. If the template is empty, a task without a command fails.
    public var template: [String]
    /// The time between SIGTERM and SIGKILL for tasks without their own.
    public var grace: Duration
    /// How long processes of the group may go on after the command itself has ended, as long as they hold its output
    /// open.
    public var linger: Duration = .seconds(2)
    /// The variables that a process inherits from the worker's own environment; it inherits no others. A name that ends
    /// with `*` stands for all variables that begin with the rest.
    public var inheritedVariables: [String] = Self.defaultVariables
    /// Variables of every process, which replace inherited ones. A task's own environment replaces them.
    public var variables: [String: String] = [:]
    /// The directory in which each attempt gets a directory of its own, as its working directory and for temporary
    /// files. Nil: the processes run in the worker's directory.
    public var workspace: String?
    /// Whether the directory of an attempt that did not succeed is kept.
    public var keepsFailed = false
    /// A command for /bin/sh that runs before each attempt, in its directory and with its environment. If it fails, the
    /// host is at fault, and the attempt is handed back.
    public var before: String?
    /// A command for /bin/sh that runs after each attempt, whatever happened. SWITCHYARD_EXIT is the exit code of the
    /// attempt's command, 128 and more for a signal, and empty if the command did not run.
    public var after: String?
    /// The directory in which each attempt gets a file with its whole output. Nil: there are no files.
    public var logDirectory: String?

    /// Creates a handler.
    public init(template: [String] = [], grace: Duration = .seconds(5)) {
        self.template = template
        self.grace = grace
    }

    /// The grace, as much for `after`, and the time to read the rest of the output.
    public var timeToEnd: Duration { grace + (after == nil ? .zero : grace) + linger + .seconds(5) }

    /// Removes the directories in ``workspace`` that former processes of the worker left when they were killed. Other
    /// workers may have theirs there.
    public func removeAbandonedDirectories(workerID: String, logger: Logger) async {
        guard let workspace else { return }
        await AttemptDirectory.removeAbandoned(in: workspace, workerID: workerID, logger: logger)
    }

    /// Runs the command of one attempt and returns how it ended.
    ///
    /// Exit code 0 completes the attempt. Its failure code is otherwise `ExitCode`, `Signal`, `CannotStart`, or
    /// `NoCommand`, which is not retried. An attempt that only this host cannot run is handed back.
    public func run(_ attempt: Attempt) async -> AttemptOutcome {
        let task = attempt.task
        let arguments = task.request.command.isEmpty ? filledTemplate(task) : task.request.command
        guard !arguments.isEmpty else {
            return .failed(
                TaskFailure(
                    code: "NoCommand",
                    message:
                        "task \(task.id) has no command, and worker \(attempt.workerID) was started without one"
                ),
                isRetryable: false)
        }
        guard let workspace else { return await run(arguments, task, attempt, in: nil) }
        let directory: AttemptDirectory
        do {
            directory = try AttemptDirectory(
                in: workspace, taskID: attempt.id, attempt: attempt.number,
                workerID: attempt.workerID)
        } catch {
            return .handedBack(reason: error.description)
        }
        let outcome = await run(arguments, task, attempt, in: directory)
        await leave(directory, after: outcome, of: attempt)
        return outcome
    }

    private func run(
        _ arguments: [String], _ task: QueuedTask, _ attempt: Attempt, in directory: AttemptDirectory?
    ) async -> AttemptOutcome {
        var command = ChildProcess.Command(
            arguments: arguments, environment: environment(for: attempt, task.request, in: directory))
        do {
            command.workingDirectory =
                try directory.map { try $0.workingDirectory(task.request.cwd) } ?? task.request.cwd
        } catch let error as AttemptDirectory.Failure {
            if error.isOfTask {
                return .failed(TaskFailure(code: "CannotStart", message: error.description), isRetryable: false)
            }
            return .handedBack(reason: error.description)
        } catch {
            return .handedBack(reason: "\(error)")
        }
        if let payload = task.request.payload { command.standardInput = .bytes(Array(buffer: payload)) }
        command.linger = linger
        command.marks = ["SWITCHYARD_TASK_ID", "SWITCHYARD_ATTEMPT", "SWITCHYARD_WORKER_ID"]
        let output = await AttemptOutput(of: attempt, directory: logDirectory)
        if let outcome = await runBefore(command, output) {
            await runAfter(command, output, status: nil)
            return outcome
        }
        let (outcome, status) = await run(command, task, output)
        await runAfter(command, output, status: status)
        return outcome
    }

    private func run(
        _ command: ChildProcess.Command, _ task: QueuedTask, _ output: AttemptOutput
    ) async -> (AttemptOutcome, ChildProcess.ExitStatus?) {
        do {
            let child = try await ChildProcess.start(command)
            let (status, tail) = await output.follow(child, grace: output.attempt.grace(orWorkers: grace))
            return (Self.outcome(status, lastWords: tail.lastLine, logFile: output.file?.path), status)
        } catch {
            let isPathOfTask = task.request.environment["PATH"] != nil
            if error.isFaultOfHost(path: isPathOfTask ? nil : command.environment["PATH"]) {
                return (.handedBack(reason: error.description), nil)
            }
            return (.failed(TaskFailure(code: "CannotStart", message: error.description)), nil)
        }
    }

    private static func outcome(
        _ status: ChildProcess.ExitStatus, lastWords: String?, logFile: String?
    ) -> AttemptOutcome {
        let result = CommandResult(status, logFile: logFile).json
        let exitCode = status.exitCode.map { Int($0) }
        if status.isSuccess { return .completed(result: result, exitCode: exitCode) }
        let message = "the command ended with \(status)" + (lastWords.map { ": \($0)" } ?? "")
        let code = status.signal == nil ? "ExitCode" : "Signal"
        return .failed(TaskFailure(code: code, message: message), result: result, exitCode: exitCode)
    }

    private func leave(_ directory: AttemptDirectory, after outcome: AttemptOutcome, of attempt: Attempt) async {
        let isKept =
            switch outcome {
            // Its time limit was over, or it was cancelled, whatever its exit code.
            case .completed: Task.isCancelled
            case .failed: true
            case .handedBack: false
            }
        if keepsFailed, isKept { return directory.keep() }
        if let problem = await directory.remove() {
            attempt.logger.warning(
                "cannot remove the directory of an attempt",
                metadata: ["task_id": "\(attempt.id)", "path": "\(directory.path)", "error": "\(problem)"])
        }
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
}
