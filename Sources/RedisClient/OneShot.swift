import Synchronization

/// A result that one task waits for and that several events may complete: a reply, a lost connection, a deadline, the
/// task's cancellation. The first one counts; ``complete(_:)`` returns false to the others.
///
/// A cancelled waiter resumes at once with `CancellationError`; a result that comes later is dropped.
final class OneShot<Value: Sendable>: Sendable {
    private enum State {
        /// Can transition to: waiting, when the task begins to wait; early, if a result or cancellation comes before
        /// that.
        case new
        /// Can transition to: over, with the first result.
        case waiting(UnsafeContinuation<Value, any Error>)
        /// Can transition to: over, when the task begins to wait and takes the result.
        case early(Result<Value, any Error>)
        case over
    }

    private let state = Mutex(State.new)

    /// Waits for the result. `start` begins the work that produces it; it does not run if there is a result already,
    /// such as the task's cancellation. `onCancel` runs once if cancellation came before the result.
    func wait(start: () -> Void, onCancel: @escaping @Sendable () -> Void = {}) async throws -> Value {
        try await withTaskCancellationHandler {
            // Unchecked: the state machine resumes it exactly once, and a checked continuation costs an allocation per
            // command.
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

    /// Returns false if there is a result already; this one is then dropped.
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

    /// Registers the waiter, or returns the result that is there already.
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
                // A second wait is a programming error in this module.
                preconditionFailure("OneShot.wait was called twice")
            }
        }
    }
}
