import ChildProcess

// The commands that a host runs around each attempt, by /bin/sh, in the attempt's directory and with its environment.
// `before` prepares; if it fails, the host is at fault and the attempt is handed back. `after` runs whatever happened,
// and cannot change the outcome. Both are within the time limit and end with the attempt.

extension CommandHandler {
    /// Runs `before`. Returns the outcome if the attempt must not run; else nil.
    func runBefore(_ command: ChildProcess.Command, _ output: AttemptOutput) async -> AttemptOutcome? {
        guard let before else { return nil }
        if let problem = await run(hook: before, like: command, output, grace: grace) {
            return .handedBack(reason: "--before \(problem)")
        }
        // The time limit is over, or the task was cancelled: this outcome is dropped.
        return Task.isCancelled ? .handedBack(reason: "ended before its command began") : nil
    }

    /// Runs `after`. If the attempt was cancelled, or its time limit is over, `after` has as long as ``grace``.
    /// - Parameter status: how the command ended; nil: it did not run.
    func runAfter(
        _ command: ChildProcess.Command, _ output: AttemptOutput, status: ChildProcess.ExitStatus?
    ) async {
        guard let after else { return }
        var command = command
        // As a shell shows it in $?.
        let code = status.flatMap { $0.exitCode ?? $0.signal.map { 128 + $0 } }
        command.environment["SWITCHYARD_EXIT"] = code.map(String.init) ?? ""
        let wasCancelled = Task.isCancelled
        // Not a child of this Swift task: it runs for an attempt that was cancelled, too.
        let hook = Task { [command, grace] in
            await run(hook: after, like: command, output, grace: wasCancelled ? .zero : grace)
        }
        let problem: String?
        if wasCancelled {
            let limit = Task { [grace] in
                // Only cancellation ends the sleep early: the hook has ended.
                if (try? await Task.sleep(for: grace)) != nil { hook.cancel() }
            }
            problem = await hook.value
            limit.cancel()
        } else {
            problem = await withTaskCancellationHandler {
                await hook.value
            } onCancel: {
                hook.cancel()
            }
        }
        guard let problem else { return }
        output.attempt.logger.warning(
            "--after failed", metadata: ["task_id": "\(output.attempt.id)", "error": "\(problem)"])
    }

    /// Runs one of the commands. Returns what went wrong; nil: it exited with 0.
    private func run(
        hook: String, like command: ChildProcess.Command, _ output: AttemptOutput, grace: Duration
    ) async -> String? {
        var command = command
        command.arguments = ["/bin/sh", "-c", hook]
        command.standardInput = .null
        let child: ChildProcess
        do {
            child = try await ChildProcess.start(command)
        } catch {
            return "did not start: \(error)"
        }
        let (status, tail) = await output.follow(child, grace: grace)
        if status.isSuccess { return nil }
        return "ended with \(status)" + (tail.lastLine.map { ": \($0)" } ?? "")
    }
}
