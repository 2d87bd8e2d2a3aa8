import Dispatch
import Foundation
import HTTPTypes
import Hummingbird
import Switchyard
import Synchronization

/// Limits the memory that large bodies need together. A text of JSON needs up to thirty times its size while it is
/// read, and a task of a batch about 2 KB, however short its text is.
///
/// A body of up to 64 KiB is not counted. Of larger ones, 8 MiB are handled at once, and one batch. Others wait,
/// unread, so that their senders wait too; after 10 s they get 503 with `Retry-After`.
final class LargeBodies: Sendable {
    /// A body of this size or less is not limited, and is parsed where it arrives: that takes about a millisecond.
    private static let small = 64 << 10
    private static let bytesAtOnce = 8 << 20

    private let bytes: Gate
    private let batches: Gate

    /// - Parameter patience: how long a body waits for its turn.
    init(patience: Duration = .seconds(10)) {
        bytes = Gate(Self.bytesAtOnce, patience: patience)
        batches = Gate(1, patience: patience)
    }

    /// Runs `body`, which reads and handles the body of a request, when there is room for it.
    func whenThereIsRoom<Value>(
        for request: Request, maxBytes: Int, _ body: () async throws -> Value
    ) async throws -> Value {
        // Without a length, the body may have the maximum.
        let length =
            request.headers[.contentLength].flatMap { Int($0) }
            ?? (request.headers[.transferEncoding] == nil ? 0 : maxBytes)
        guard length > Self.small else { return try await body() }
        let isBatch = request.uri.path.hasSuffix("/tasks")
        let gate = isBatch ? batches : bytes
        let weight = isBatch ? 1 : min(length, maxBytes, Self.bytesAtOnce)
        guard await gate.enter(weight) else {
            var problem = Problem(
                .serviceUnavailable, code: "Internal",
                "other large requests are being handled, and this one had no turn in time; retry")
            problem.retryAfter = Problem.retryAfter
            throw problem
        }
        defer {
            gate.leave(weight)
            if isBatch { Self.trim() }
        }
        return try await body()
    }

    /// Returns the freed memory of a batch to the system, which the allocator would keep.
    private static func trim() {
        // Of glibc, but not in its module map; nil in another C library.
        typealias Trim = @convention(c) (Int) -> CInt
        guard let symbol = dlsym(nil, "malloc_trim") else { return }
        let trim = unsafeBitCast(symbol, to: Trim.self)
        parsing.async { _ = trim(0) }
    }

    /// One thread for what takes long: parsing must not take the threads on which everything else runs.
    private static let parsing = DispatchQueue(label: "switchyard.http.parsing")

    /// Runs `body`, which parses so many bytes; on a thread of its own if they are many.
    static func parse<Value: Sendable>(
        _ bytes: Int, _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        if bytes <= small { return try body() }
        return try await withCheckedThrowingContinuation { continuation in
            parsing.async { continuation.resume(with: Result { try body() }) }
        }
    }
}

/// A semaphore with weights. Who waits is served in order, and gives up after a while.
final class Gate: Sendable {
    private struct Waiter {
        let id: Int
        let weight: Int
        let continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var free: Int
        var waiters: [Waiter] = []
        var nextID = 0
    }

    /// Each waiter has an open connection; more of them would only time out.
    private static let maxWaiters = 256

    private let patience: Duration
    private let state: Mutex<State>

    init(_ weight: Int, patience: Duration) {
        self.patience = patience
        state = Mutex(State(free: weight))
    }

    /// Returns whether there is room; false after the patience, if the task is cancelled, and if very many wait.
    func enter(_ weight: Int) async -> Bool {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isIn = state.withLock { state -> Bool? in
                    // Cancelled before the waiter was stored: the handler below found none.
                    if Task.isCancelled || state.waiters.count >= Self.maxWaiters { return false }
                    if state.waiters.isEmpty, state.free >= weight {
                        state.free -= weight
                        return true
                    }
                    state.waiters.append(Waiter(id: id, weight: weight, continuation: continuation))
                    return nil
                }
                if let isIn { return continuation.resume(returning: isIn) }
                let patience = patience
                Task { [weak self] in
                    // Sleep throws only when cancelled, and nothing cancels this task.
                    try? await Task.sleep(for: patience)
                    self?.giveUp(id)
                }
            }
        } onCancel: {
            giveUp(id)
        }
    }

    func leave(_ weight: Int) {
        state.withLock { $0.free += weight }
        admit()
    }

    private func giveUp(_ id: Int) {
        let waiter = state.withLock { state in
            state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
        }
        waiter?.continuation.resume(returning: false)
        // A lighter one behind it may fit.
        admit()
    }

    private func admit() {
        let admitted = state.withLock { state in
            var admitted: [Waiter] = []
            while let first = state.waiters.first, state.free >= first.weight {
                state.free -= first.weight
                admitted.append(state.waiters.removeFirst())
            }
            return admitted
        }
        for waiter in admitted { waiter.continuation.resume(returning: true) }
    }
}

/// Lets a request with a large body in when there is room for it.
struct LargeBodyMiddleware: RouterMiddleware {
    typealias Context = ClientContext

    let bodies: LargeBodies
    let maxBytes: Int

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        try await bodies.whenThereIsRoom(for: request, maxBytes: maxBytes) { try await next(request, context) }
    }
}
