import Logging
import NIOCore
import RedisClient
import Synchronization

/// Reads the tasks of one partition of a queue for all who wait for them.
///
/// It subscribes to the partition's `results` and `events` only while somebody waits. A message is only a hint: the
/// feed then reads the task, once for all its waiters. Messages can be lost, and not every change has one, so it also
/// compares a few of the tasks with Redis each second, in turn. So the cost of waiting depends little on the number of
/// waiters.
final class ChangeFeed: Sendable {
    /// What a waiter gets: the task as it now is, nil if it does not exist.
    typealias Look = Result<QueuedTask?, any Error>

    /// The fields that are compared with Redis. What else changes, changes with them or has a message.
    private struct Compared: Equatable {
        static let names: [RedisArgument] = ["state", "attempt", "progress"]
        var state: String?
        var attempt: Int
        var progress: ByteBuffer?

        init(_ task: QueuedTask?) {
            state = task?.state.rawValue
            attempt = task?.attempt ?? 0
            progress = task?.progress
        }

        /// Nil if the values are not those of a task.
        init?(_ reply: RESPValue) {
            guard let values = reply.array, values.count == Self.names.count else { return nil }
            state = values[0].string
            attempt = values[1].string.flatMap { Int($0) } ?? 0
            progress = values[2].bytes
        }
    }

    private struct Watched {
        var waiters: [UInt64: AsyncStream<Look>.Continuation] = [:]
        /// Nil: not yet known.
        var seen: Compared?
    }

    private struct State {
        var tasks: [String: Watched] = [:]
        var nextID: UInt64 = 0
        var listener: Task<Void, Never>?
        /// Tells the listener that there are tasks to read.
        var hint: AsyncStream<Void>.Continuation?
        /// Tasks to read.
        var changed: Set<String> = []
        /// Tasks to compare, the next one last.
        var turn: [String] = []
    }

    private let functions: QueueFunctions
    private let logger: Logger
    private let state = Mutex(State())

    /// Tasks that are compared in a second. Each costs Redis one command.
    private static let comparedAtOnce = 10
    /// Tasks that are read in a call.
    private static let readAtOnce = 100
    /// The pause after reading: changes that come meanwhile are read together.
    private static let pause: Duration = .milliseconds(50)

    init(functions: QueueFunctions, logger: Logger) {
        self.functions = functions
        self.logger = logger
    }

    /// Returns a stream with a look at `task` whenever it may have changed. It ends after `time`.
    func looks(at task: String, within time: Duration) -> AsyncStream<Look> {
        let (stream, continuation) = AsyncStream.makeStream(of: Look.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.nextID += 1
            state.tasks[task, default: Watched()].waiters[state.nextID] = continuation
            if state.listener == nil {
                let (hints, hint) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
                state.hint = hint
                state.listener = Task { await self.listen(hints) }
            }
            return state.nextID
        }
        let deadline = Task {
            try await Task.sleep(for: time)
            continuation.finish()
        }
        continuation.onTermination = { _ in
            deadline.cancel()
            self.leave(task, id)
        }
        return stream
    }

    /// Notes how a waiter has read the task itself.
    func note(_ task: QueuedTask) {
        state.withLock { state in
            if let watched = state.tasks[task.id], watched.seen == nil { state.tasks[task.id]?.seen = Compared(task) }
        }
    }

    private func leave(_ task: String, _ id: UInt64) {
        let idle: Task<Void, Never>? = state.withLock { state in
            state.tasks[task]?.waiters[id] = nil
            if state.tasks[task]?.waiters.isEmpty == true { state.tasks[task] = nil }
            guard state.tasks.isEmpty else { return nil }
            defer { (state.listener, state.hint) = (nil, nil) }
            return state.listener
        }
        idle?.cancel()
    }

    // MARK: Hints

    private func listen(_ hints: AsyncStream<Void>) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.relayMessages() }
            group.addTask { await self.readChanged(hints) }
            group.addTask {
                // The sleep fails only when the task is cancelled.
                while (try? await Task.sleep(for: .seconds(1))) != nil { await self.compareSome() }
            }
        }
    }

    private func relayMessages() async {
        do {
            let subscription = try await functions.client.subscribe(to: [functions.keys.results, functions.keys.events])
            readAll()
            for await event in subscription {
                switch event {
                case .message(_, let payload):
                    let text = String(buffer: payload)
                    read(text.split(separator: "\n").map { String($0.prefix { $0 != " " }) })
                case .resubscribed, .gap:
                    readAll()
                }
            }
        } catch {
            // The tasks are still compared.
            logger.debug(
                "cannot subscribe to changes", metadata: ["queue": "\(functions.keys.name)", "error": "\(error)"])
        }
    }

    private func readAll() {
        state.withLock { state in
            state.changed.formUnion(state.tasks.keys)
            state.hint?.yield()
        }
    }

    private func read(_ ids: [String]) {
        state.withLock { state in
            let watched = ids.filter { state.tasks[$0] != nil }
            state.changed.formUnion(watched)
            if !watched.isEmpty { state.hint?.yield() }
        }
    }

    // MARK: Looks

    private func readChanged(_ hints: AsyncStream<Void>) async {
        for await _ in hints {
            let ids = state.withLock { state in
                defer { state.changed = [] }
                return state.changed.filter { state.tasks[$0] != nil }
            }
            let all = Array(ids)
            for start in stride(from: 0, to: all.count, by: Self.readAtOnce) {
                await read(part: Array(all[start..<min(start + Self.readAtOnce, all.count)]))
            }
            // It fails only when the task is cancelled.
            try? await Task.sleep(for: Self.pause)
        }
    }

    private func read(part ids: [String]) async {
        do {
            for (id, task) in zip(ids, try await functions.tasks(ids)) { deliver(.success(task), for: id) }
        } catch {
            if Task.isCancelled { return }
            for id in ids { deliver(.failure(error), for: id) }
        }
    }

    private func deliver(_ look: Look, for id: String) {
        let waiters = state.withLock { state -> [AsyncStream<Look>.Continuation] in
            guard let watched = state.tasks[id] else { return [] }
            if case .success(let task) = look { state.tasks[id]?.seen = Compared(task) }
            return Array(watched.waiters.values)
        }
        for waiter in waiters { waiter.yield(look) }
    }

    /// Compares the next tasks with Redis, and has those read that have changed.
    private func compareSome() async {
        let ids = state.withLock { state -> [String] in
            if state.turn.isEmpty { state.turn = Array(state.tasks.keys) }
            let next = state.turn.suffix(Self.comparedAtOnce)
            state.turn.removeLast(next.count)
            return next.filter { state.tasks[$0] != nil }
        }
        let commands = ids.map { id in
            RedisCommand("HMGET", [.string(functions.keys.task(id))], Compared.names)
        }
        do {
            let replies = try await functions.reaching { try await $0.pipeline(commands) }
            let changed = state.withLock { state in
                zip(ids, replies).filter { id, reply in state.tasks[id]?.seen != Compared(reply) }.map(\.0)
            }
            read(changed)
        } catch {
            if Task.isCancelled { return }
            // Reading them repeats the call for a while, and then tells the waiters. If Redis is known to be away, all
            // are told.
            if functions.presence?.absence != nil { readAll() } else { read(ids) }
        }
    }
}

extension SchedulerHandle {
    /// Waits until `isDone` is true for the task, at most for `timeout`.
    /// - Returns: the task as it was last read, also if the time is over.
    /// - Throws: `taskNotFound`.
    public func waitForTask(
        _ id: String, timeout: Duration, until isDone: @Sendable (QueuedTask) -> Bool
    ) async throws -> QueuedTask {
        try await waitForChange(of: id, timeout: timeout) { _, now in isDone(now) }
    }

    /// Waits until `isDone` is true for the task as it was at first and as it is now, at most for `timeout`. The two
    /// are the same at first.
    /// - Returns: the task as it was last read, also if the time is over.
    /// - Throws: `taskNotFound`.
    public func waitForChange(
        of id: String, timeout: Duration, until isDone: @Sendable (_ first: QueuedTask, _ now: QueuedTask) -> Bool
    ) async throws -> QueuedTask {
        let id = try Name.validate(id, field: "task_id")
        guard timeout > .zero else { return try await getTask(id) }
        // The feed is asked before the task is read, so that no change is missed in between.
        let home = partitions.home(of: id)
        var looks = feeds[home].looks(at: id, within: timeout)
        let (first, partition) = try await locate(id)
        if isDone(first, first) { return first }
        if partition != home { looks = feeds[partition].looks(at: id, within: timeout) }
        feeds[partition].note(first)
        for await look in looks {
            guard let task = try look.get() else { break }
            if isDone(first, task) { return task }
        }
        try Task.checkCancellation()
        return try await getTask(id)
    }
}
