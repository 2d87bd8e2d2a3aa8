import ChildProcess
import Glibc

/// Where the output of an attempt's processes goes: to the task's log in Redis, and to a file, if the worker keeps
/// files.
struct AttemptOutput: Sendable {
    let attempt: Attempt
    let file: LogFile?

    /// - Parameter directory: where the worker keeps the files; nil: it keeps none. Without a file the attempt goes on.
    init(of attempt: Attempt, directory: String?) async {
        self.attempt = attempt
        guard let directory else {
            file = nil
            return
        }
        do {
            file = try LogFile(in: directory, taskID: attempt.id, attempt: attempt.number)
        } catch {
            file = nil
            await tell(error.description)
        }
    }

    /// Appends output.
    func write(_ chunk: ChildProcess.OutputChunk) async {
        if let failure = await file?.write(chunk.bytes) { await tell(failure + "; the rest is only in the task's log") }
        await attempt.log.write(chunk.stream.rawValue, chunk.bytes)
    }

    /// Tells the operator, and whoever reads the task's log.
    private func tell(_ failure: String) async {
        attempt.logger.warning(
            "an attempt's log file is not complete",
            metadata: ["task_id": "\(attempt.id)", "attempt": "\(attempt.number)", "error": "\(failure)"])
        await attempt.log.write("stderr", Array("[switchyard: \(failure)]\n".utf8))
    }

    /// Writes the output of `child` until nobody can write any more, and returns how it ended. Cancelling the calling
    /// task ends the child: SIGTERM to its whole group and, after `grace`, SIGKILL.
    func follow(_ child: ChildProcess, grace: Duration) async -> (status: ChildProcess.ExitStatus, tail: OutputTail) {
        // Not a child of this Swift task: what a program writes when it is told to end is read too.
        let reading = Task {
            var tail = OutputTail()
            for await chunk in child.output {
                tail.append(chunk)
                await write(chunk)
            }
            return tail
        }
        return await withTaskCancellationHandler {
            let tail = await reading.value
            return (await child.waitForExit(), tail)
        } onCancel: {
            // The whole group ends, even if it ignores SIGTERM. `waitForExit` returns when nobody can write any more.
            Task { await child.terminate(grace: grace) }
        }
    }
}
