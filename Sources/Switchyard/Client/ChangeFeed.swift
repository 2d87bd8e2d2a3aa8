import Logging
import NIOCore
import RedisClient
import Synchronization

/// Wakes the callers that wait for tasks of one partition of a queue.
///
/// It subscribes to the partition's `results` and `events` only while somebody waits. A message is only a hint to read
/// the task's hash again. A waiter also reads it once a second, because messages can be lost.
final class ChangeFeed: Sendable {
    private struct State {
        var waiters: [UInt64: (task: String, continuation: AsyncStream<Void>.Continuation)] = [:]
        var nextID: UInt64 = 0
        var listener: Task<Void, Never>?
    }

    private let keys: Keys
    private let client: RedisClient
    private let logger: Logger
    private let state = Mutex(State())

    init(keys: Keys, client: RedisClient, logger: Logger) {
        self.keys = keys
        self.client = client
        self.logger = logger
    }

    /// Returns a stream with a value whenever `task` may have changed, and at least once a second. It ends after
    /// `time`.
    func changes(of task: String, within time: Duration) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.nextID += 1
            state.waiters[state.nextID] = (task, continuation)
            if state.listener == nil { state.listener = Task { await self.listen() } }
            return state.nextID
        }
        let deadline = Task {
            try await Task.sleep(for: time)
            continuation.finish()
        }
        continuation.onTermination = { _ in
            deadline.cancel()
            self.leave(id)
        }
        return stream
    }

    private func leave(_ id: UInt64) {
        let idle: Task<Void, Never>? = state.withLock { state in
            state.waiters[id] = nil
            guard state.waiters.isEmpty else { return nil }
            defer { state.listener = nil }
            return state.listener
        }
        idle?.cancel()
    }

    private func listen() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.relayMessages() }
            group.addTask {
                // The sleep fails only when the task is cancelled.
                while (try? await Task.sleep(for: .seconds(1))) != nil { self.wake { _ in true } }
            }
        }
    }

    private func relayMessages() async {
        do {
            let subscription = try await client.subscribe(to: [keys.results, keys.events])
            wake { _ in true }
            for await event in subscription {
                switch event {
                case .message(_, let payload):
                    let text = String(buffer: payload)
                    let changed = Set(text.split(separator: "\n").map { String($0.prefix { $0 != " " }) })
                    wake(changed.contains)
                case .resubscribed, .gap:
                    wake { _ in true }
                }
            }
        } catch {
            // Waiters are still woken once a second.
            logger.debug("cannot subscribe to changes", metadata: ["queue": "\(keys.name)", "error": "\(error)"])
        }
    }

    private func wake(_ concerns: (String) -> Bool) {
        let continuations = state.withLock { $0.waiters.values.filter { concerns($0.task) }.map(\.continuation) }
        for continuation in continuations { continuation.yield() }
    }
}

extension SchedulerHandle {
    /// Waits until `isDone` is true for the task, at most for `timeout`. Reads the task whenever it may have changed,
    /// and at least once a second.
    /// - Returns: the task as it was last read, also if the time is over.
    /// - Throws: `taskNotFound`.
    public func waitForTask(
        _ id: String, timeout: Duration, until isDone: @Sendable (QueuedTask) -> Bool
    ) async throws -> QueuedTask {
        let found = try await locate(id)
        var task = found.task
        guard !isDone(task), timeout > .zero else { return task }
        for await _ in feeds[found.partition].changes(of: id, within: timeout) {
            task = try await getTask(id)
            if isDone(task) { return task }
        }
        try Task.checkCancellation()
        return try await getTask(id)
    }
}
