import Logging
import NIOCore
import Switchyard
import Synchronization

/// Appends the output of one attempt to the task's log in Redis.
///
/// Each write waits until Redis has stored the output, so a flood of output slows its source instead of filling memory.
public final class AttemptLog: Sendable {
    private let holder: AttemptHolder
    private let taskID: String
    private let attempt: Int
    private let isClosed = Mutex(false)

    /// The queue bounds a log by its number of pieces, so the size of a piece bounds its bytes: 1000 pieces are 8 MB.
    private static let pieceBytes = 8192

    init(holder: AttemptHolder, taskID: String, attempt: Int) {
        self.holder = holder
        self.taskID = taskID
        self.attempt = attempt
    }

    /// Appends bytes to the log.
    ///
    /// If the attempt has lost its lease, or Redis stays unreachable, this and all later output of the attempt is
    /// dropped, and the worker logs a warning.
    /// - Parameter stream: `stdout` or `stderr`.
    public func write(_ stream: String, _ bytes: [UInt8]) async {
        guard !isClosed.withLock({ $0 }), !bytes.isEmpty else { return }
        let pieces = stride(from: 0, to: bytes.count, by: Self.pieceBytes).map { start in
            (stream: stream, data: ByteBuffer(bytes: bytes[start..<min(start + Self.pieceBytes, bytes.count)]))
        }
        do {
            try await holder.link.log(taskID: taskID, attempt: attempt, pieces)
        } catch {
            isClosed.withLock { $0 = true }
            if Task.isCancelled { return }
            holder.logger.warning(
                "dropping the rest of an attempt's output",
                metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)", "error": "\(error)"])
        }
    }
}
