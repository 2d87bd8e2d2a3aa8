import Synchronization

/// A result that one task waits for and that several sides may try to give: a reply, a lost connection, a deadline,
/// the task's cancellation. The first wins, the rest are told that they came too late.
///
/// A cancelled waiter is resumed at once with `CancellationError`; whoever later delivers the result merely drops it.
final class OneShot<Value: Sendable>: Sendable {
    private enum State {
        /// Can transition to: waiting, if the task gets to wait; over, if it was cancelled before.
        case new
        /// Can transition to: over, with the first result.
        case waiting(UnsafeContinuation<Value, any Error>)
        /// Can transition to: over, when the task asks for it.
        case early(Result<Value, any Error>)
        case over
    }

    private let state = Mutex(State.new)

    /// Waits for the result. `start` sets going what will produce it, unless the task is cancelled already.
    /// `onCancel` runs once if cancellation came before the result.
    func wait(start: () -> Void, onCancel: @escaping @Sendable () -> Void = {}) async throws -> Value {
        try await withTaskCancellationHandler {
            // Unchecked: the state machine resumes exactly once, and a checked one costs an allocation per command.
            try await withUnsafeThrowingContinuation { continuation in
                if let early = install(continuation) {
                    continuation.resume(with: early)
                } else {
                    start()
                }
            }
        } onCancel: {
            if complete(.failure(CancellationError())) {
                onCancel()
            }
        }
    }

    /// Returns false if there is a result already: this one is dropped.
    @discardableResult
    func complete(_ result: Result<Value, any Error>) -> Bool {
        let (won, continuation) = state.withLock { state -> (Bool, UnsafeContinuation<Value, any Error>?) in
            switch state {
            case .new:
                state = .early(result)
                return (true, nil)
            case .waiting(let continuation):
                state = .over
                return (true, continuation)
            case .early, .over:
                return (false, nil)
            }
        }
        continuation?.resume(with: result)
        return won
    }

    private func install(_ continuation: UnsafeContinuation<Value, any Error>) -> Result<Value, any Error>? {
        state.withLock { state in
            switch state {
            case .new:
                state = .waiting(continuation)
                return nil
            case .early(let result):
                state = .over
                return result
            case .waiting, .over:
                // A second wait is a mistake in this module.
                preconditionFailure("OneShot.wait was called twice")
            }
        }
    }
}
