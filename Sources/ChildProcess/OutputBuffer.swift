import Synchronization

/// The output that was read from a child and not yet taken by its reader: bounded.
///
/// At `highWater` the reactor stops reading (the pipes fill and the child waits), and goes on below `lowWater`.
/// One reader at a time: a second one ends the wait of the first.
final class OutputBuffer: Sendable {
    /// Four pipes' worth: enough that a reader woken now and then keeps a fast child busy.
    static let highWater = 256 * 1024
    static let lowWater = 64 * 1024
    /// What a chunk costs beside its bytes, so that a child that writes single bytes is bounded as well.
    private static let chunkOverhead = 64

    private typealias Waiter = CheckedContinuation<Bool, Never>

    private struct State {
        var chunks: [ChildProcess.OutputChunk] = []
        /// Chunks before this index are taken; the array is compacted now and then.
        var next = 0
        var cost = 0
        var paused = false
        var finished = false
        var discarding = false
        /// Resumed with true to look again, with false to give up.
        var waiter: Waiter?

        mutating func takeWaiter() -> Waiter? {
            defer { waiter = nil }
            return waiter
        }
    }

    private enum Taken {
        case chunk(ChildProcess.OutputChunk, mayResume: Bool)
        case end
        case nothingYet
    }

    private let state = Mutex(State())

    /// What is held now, with the cost of each chunk; for tests.
    var heldBytes: Int { state.withLock { $0.cost } }

    /// True: stop reading, until a reader calls `resume`.
    func push(_ chunk: ChildProcess.OutputChunk) -> Bool {
        let (waiter, pause) = state.withLock { state -> (Waiter?, Bool) in
            if state.discarding { return (nil, false) }
            state.chunks.append(chunk)
            state.cost += chunk.bytes.count + Self.chunkOverhead
            state.paused = state.cost >= Self.highWater
            return (state.takeWaiter(), state.paused)
        }
        waiter?.resume(returning: true)
        return pause
    }

    func finish() {
        let waiter = state.withLock { state in
            state.finished = true
            return state.takeWaiter()
        }
        waiter?.resume(returning: true)
    }

    /// Drops what is there and all that comes.
    func discard() {
        let waiter = state.withLock { state in
            let waiter = state.takeWaiter()
            state = State(finished: state.finished, discarding: true)
            return waiter
        }
        waiter?.resume(returning: true)
    }

    /// The next chunk; nil at the end, when the output is discarded, or when the calling task is cancelled.
    /// Calls `resume` when the reactor may read again.
    func next(resume: () -> Void) async -> ChildProcess.OutputChunk? {
        while !Task.isCancelled {
            switch take() {
            case .chunk(let chunk, let mayResume):
                if mayResume { resume() }
                return chunk
            case .end: return nil
            case .nothingYet: guard await wait() else { return nil }
            }
        }
        return nil
    }

    private func take() -> Taken {
        state.withLock { state in
            guard state.next < state.chunks.count else {
                return state.finished || state.discarding ? .end : .nothingYet
            }
            let chunk = state.chunks[state.next]
            state.next += 1
            if state.next == state.chunks.count || state.next >= 1024 {
                state.chunks.removeFirst(state.next)
                state.next = 0
            }
            state.cost -= chunk.bytes.count + Self.chunkOverhead
            guard state.paused, state.cost <= Self.lowWater else { return .chunk(chunk, mayResume: false) }
            state.paused = false
            return .chunk(chunk, mayResume: true)
        }
    }

    private func wait() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (resumed, answer) = state.withLock { state -> (Waiter?, Bool) in
                    // Cancelled before the waiter stood here: the handler below found nobody to resume.
                    if Task.isCancelled { return (continuation, false) }
                    if state.next < state.chunks.count || state.finished || state.discarding {
                        return (continuation, true)
                    }
                    defer { state.waiter = continuation }
                    return (state.waiter, false)
                }
                resumed?.resume(returning: answer)
            }
        } onCancel: {
            state.withLock { $0.takeWaiter() }?.resume(returning: false)
        }
    }
}
