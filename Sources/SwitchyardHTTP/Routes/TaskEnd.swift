import Switchyard
import Synchronization

/// Waits for the end of a task while something else is awaited.
final class TaskEnd: Sendable {
    private struct State {
        /// How the task ended; a failure if that cannot be known.
        var end: Result<String, any Error>?
        /// What the end cancels.
        var work: (@Sendable () -> Void)?
        var waiting: Task<Void, Never>?
    }
    private let value = Mutex(State())

    /// A task may run for as long as its time limit and wait for longer, so that there is no bound here.
    private static let long: Duration = .seconds(1 << 30)

    init(of id: String, _ handle: SchedulerHandle) {
        let waiting = Task { [weak self] in
            let end: Result<String, any Error>
            do {
                end = .success(
                    try await handle.waitForTask(id, timeout: Self.long, until: \.state.isTerminal).state.rawValue)
            } catch SchedulerError.taskNotFound {
                end = .success("deleted")
            } catch {
                end = .failure(error)
            }
            self?.value.withLock { value in
                value.end = end
                value.work?()
            }
        }
        value.withLock { $0.waiting = waiting }
    }

    func stopWaiting() {
        value.withLock { $0.waiting }?.cancel()
    }

    /// Returns the value of `body`, or nil if the task ended before `body` did.
    func orValue<Value: Sendable>(of body: @escaping @Sendable () async throws -> Value) async throws -> Value? {
        let work = Task { try await body() }
        let hasEnded = value.withLock { value in
            value.work = { work.cancel() }
            return value.end != nil
        }
        if hasEnded { work.cancel() }
        defer { value.withLock { $0.work = nil } }
        do {
            return try await withTaskCancellationHandler {
                try await work.value
            } onCancel: {
                work.cancel()
            }
        } catch is CancellationError where !Task.isCancelled {
            return nil
        }
    }

    /// Returns the state in which the task ended. Call it when ``orValue(of:)`` has returned nil.
    func state() throws -> String {
        guard let end = value.withLock({ $0.end }) else { throw CancellationError() }
        return try end.get()
    }
}
