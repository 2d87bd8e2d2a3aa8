import Foundation
import JSON
import NIOCore
import Switchyard
import SwitchyardWorker

/// Runs the workload's tasks of kind `torture` inside a worker process: it notes the start, waits, notes the end, and
/// fails as often as the payload says.
package struct TortureHandler: TaskHandler {
    private let journal: FileHandle

    /// - Parameter path: the file in which executions are noted. It must exist.
    /// - Throws: if the file cannot be written.
    package init(journal path: String) throws {
        journal = try FileHandle(forUpdating: URL(filePath: path))
        // Several processes write to the file: each line goes to its end, as a whole.
        guard fcntl(journal.fileDescriptor, F_SETFL, O_APPEND) == 0 else {
            throw TortureError("\(path): cannot be opened for appending (errno \(errno))")
        }
    }

    package func run(_ attempt: Attempt) async -> AttemptOutcome {
        guard let text = attempt.task.request.payload,
            let payload = try? JSONReader.read(Array(text.readableBytesView)),
            let pause = payload["ms"]?.int, let failures = payload["failures"]?.int
        else {
            return .failed(
                TaskFailure(code: "BadPayload", message: "expected ms and failures, found another payload"),
                isRetryable: false)
        }
        note("start", attempt)
        // Cancelled: the attempt ends early, and its outcome is dropped.
        try? await Task.sleep(for: .milliseconds(pause))
        note("end", attempt)
        guard attempt.number > failures else {
            return .failed(TaskFailure(code: "Planned", message: "attempt \(attempt.number) of \(failures) that fail"))
        }
        return .completed(result: ByteBuffer(string: attempt.id))
    }

    private func note(_ event: String, _ attempt: Attempt) {
        let line = "\(event) \(attempt.id) \(attempt.number) \(attempt.workerID) \(Uptime.now.seconds)\n"
        let bytes = Array(line.utf8)
        let written = write(journal.fileDescriptor, bytes, bytes.count)
        // Without the journal the checks are worth nothing.
        precondition(written == bytes.count, "the journal of executions cannot be written (errno \(errno))")
    }
}
