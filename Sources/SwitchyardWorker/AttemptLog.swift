import Logging
import NIOCore
import Switchyard
import Synchronization

/// The output of one attempt, on its way to the task's log in Redis. Whoever writes waits until it is there, so that a
/// flood of output slows its source instead of filling memory.
public final class AttemptLog: Sendable {
    private let holder: AttemptHolder
    private let taskID: String
    private let attempt: Int
    private let isClosed = Mutex(false)

    /// A log keeps a number of pieces, so their size bounds it: 1000 of them are 8 MB.
    private static let pieceBytes = 8192

    init(holder: AttemptHolder, taskID: String, attempt: Int) {
        self.holder = holder
        self.taskID = taskID
        self.attempt = attempt
    }

    /// Appends bytes. `stream` is stdout or stderr. When the attempt has lost its lease, or Redis stays away, the rest
    /// of the output is dropped, which the worker's own log says.
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
                "the rest of an attempt's output is dropped",
                metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)", "error": "\(error)"])
        }
    }
}
