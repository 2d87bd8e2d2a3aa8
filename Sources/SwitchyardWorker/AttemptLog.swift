import Logging
import NIOCore
import Switchyard
import Synchronization

/// Appends the output of one attempt to the task's log in Redis.
///
/// Output is collected for a short time and sent in pieces. While Redis takes it, a flood of output slows its source
/// instead of filling memory. While Redis is away, the latest output is kept, up to a limit, and written when Redis is
/// back; a mark in the log says how much is missing. The log also takes the output of an attempt that is ending, such
/// as what a program prints when it is told to end.
public final class AttemptLog: Sendable {
    private struct State {
        var pieces = OutputPieces()
        /// Sends the pieces; nil while there are none.
        var sender: Task<Void, Never>?
        /// The time in which the sender collects output. Cancelled if there is enough, or no more will come.
        var pause: Task<Void, Never>?
        /// The last call failed, and Redis may take the next one.
        var isAway = false
        /// Redis takes no output of this attempt any more.
        var isRefused = false
        var finishedAt: ContinuousClock.Instant?
        /// Writers that wait for room.
        var writers: [CheckedContinuation<Void, Never>] = []

        var isUrgent: Bool { finishedAt != nil || pieces.bytes >= OutputPieces.pieceBytes }

        /// Whether a writer need not wait.
        var hasRoom: Bool { isAway || isRefused || pieces.bytes <= AttemptLog.maxBytes }

        mutating func takeWriters() -> [CheckedContinuation<Void, Never>] {
            guard hasRoom else { return [] }
            defer { writers = [] }
            return writers
        }
    }

    private let holder: AttemptHolder
    private let taskID: String
    private let attempt: Int
    private let state = Mutex(State())

    /// How long output is collected before it is sent: a reader who follows the log does not notice it.
    private static let collecting: Duration = .milliseconds(200)
    /// Limit on the output that waits to be sent.
    private static let maxBytes = 1 << 20
    private static let pauseAfterFailure: Duration = .milliseconds(500)
    /// How long the output of an attempt that has ended waits for Redis. Until then the attempt is not reported.
    private static let patience: Duration = .seconds(30)

    init(holder: AttemptHolder, taskID: String, attempt: Int) {
        self.holder = holder
        self.taskID = taskID
        self.attempt = attempt
    }

    /// Appends bytes to the log. Waits for room if Redis takes output more slowly than it comes.
    ///
    /// If the attempt has lost its lease, this and all later output of the attempt is dropped, and the worker logs a
    /// warning.
    /// - Parameter stream: `stdout` or `stderr`.
    public func write(_ stream: String, _ bytes: [UInt8]) async {
        let hasRoom = state.withLock { state in
            if state.isRefused || bytes.isEmpty { return true }
            state.pieces.append(stream, bytes)
            if state.isAway { state.pieces.drop(to: Self.maxBytes) }
            startSending(&state)
            return state.hasRoom
        }
        if !hasRoom { await waitForRoom() }
    }

    /// Waits until all output is in the log, or Redis refuses it. While Redis is away, it gives up after some time.
    func finish() async {
        let sender = state.withLock { state in
            state.finishedAt = .now
            state.pieces.end()
            startSending(&state)
            return state.sender
        }
        await sender?.value
    }

    private func startSending(_ state: inout State) {
        if state.isUrgent { state.pause?.cancel() }
        if state.sender != nil || state.pieces.isEmpty || state.isRefused { return }
        // Not a child of the attempt's Swift task: the output of an attempt that was cancelled is written too.
        state.sender = Task { await send() }
    }

    private func waitForRoom() async {
        await withCheckedContinuation { writer in
            let hasRoom = state.withLock { state in
                if !state.hasRoom { state.writers.append(writer) }
                return state.hasRoom
            }
            if hasRoom { writer.resume() }
        }
    }

    // MARK: The sender

    private func send() async {
        while true {
            await collect()
            let batch = state.withLock { state in
                let batch = state.pieces.take()
                if batch == nil { state.sender = nil }
                return batch
            }
            guard let batch else { return }
            do {
                try await holder.link.log(
                    taskID: taskID, attempt: attempt, missingBytes: batch.missing, grace: holder.timeToEnd,
                    batch.pieces.map { ($0.stream, ByteBuffer(bytes: $0.bytes)) })
                change { $0.isAway = false }
            } catch let error as SchedulerError where error.mayPass {
                guard keep(batch, error) else { return }
                // Nobody cancels the sender.
                try? await Task.sleep(for: Self.pauseAfterFailure)
            } catch {
                refuse("\(error)")
                return
            }
        }
    }

    /// Waits until there is enough to send, or some time has passed.
    private func collect() async {
        // Cancellation ends the pause early.
        let pause = Task { _ = try? await Task.sleep(for: Self.collecting) }
        let isUrgent = state.withLock { state in
            state.pause = pause
            return state.isUrgent
        }
        if isUrgent { pause.cancel() }
        await pause.value
    }

    private func change(_ body: (inout sending State) -> Void) {
        let writers = state.withLock { state in
            body(&state)
            return state.takeWriters()
        }
        for writer in writers { writer.resume() }
    }

    /// Keeps a batch that Redis did not take. Returns false if the attempt has ended and Redis is away for too long, or
    /// has no memory for output: that may last, and the reports of tasks must not wait for it.
    private func keep(_ batch: OutputPieces.Batch, _ error: SchedulerError) -> Bool {
        let message = error.message
        let patience = error.isOutOfMemory ? .zero : Self.patience
        let (isFirst, isOver) = state.withLock { state in
            let isOver = state.finishedAt.map { ContinuousClock.now - $0 >= patience } ?? false
            defer { state.isAway = true }
            return (!state.isAway, isOver)
        }
        if isOver {
            refuse(message)
            return false
        }
        change { state in
            state.pieces.putBack(batch)
            state.pieces.drop(to: Self.maxBytes)
        }
        if isFirst {
            holder.logger.warning(
                "cannot write an attempt's output; the last MiB of it is kept until Redis is back",
                metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)", "error": "\(message)"])
        }
        return true
    }

    private func refuse(_ message: String) {
        change { state in
            state.isRefused = true
            state.pieces = OutputPieces()
            state.sender = nil
        }
        holder.logger.warning(
            "dropping the rest of an attempt's output",
            metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)", "error": "\(message)"])
    }
}

extension SchedulerError {
    /// Whether the same call may succeed later.
    fileprivate var mayPass: Bool { if case .internal = self { true } else { false } }
}
