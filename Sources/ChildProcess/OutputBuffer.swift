import Synchronization

/// A bounded buffer for the output that was read from a child and not yet taken by its reader.
///
/// At `highWater` the reactor stops reading, so the pipes fill and the child waits; at `lowWater` it resumes. There is
/// one reader at a time: a second one ends the wait of the first.
final class OutputBuffer: Sendable {
    /// The size of four pipes: enough to keep a fast child busy while the reader is not scheduled.
    static let highWater = 256 * 1024
    static let lowWater = 64 * 1024
    /// The bytes that a chunk counts in addition to its content, so that single-byte writes are bounded too.
    private static let chunkOverhead = 64

    private typealias Waiter = CheckedContinuation<Bool, Never>

    private struct State {
        var chunks: [ChildProcess.OutputChunk] = []
        /// Chunks before this index have been taken; they are removed from the array in groups.
        var next = 0
        var cost = 0
        var paused = false
        var finished = false
        var discarding = false
        /// The waiting reader. True: look again; false: give up.
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

    /// The bytes in the buffer, with the overhead of each chunk; for tests.
    var heldBytes: Int { state.withLock { $0.cost } }

    /// The bytes of all chunks that are in memory, taken or not; for tests.
    var retainedBytes: Int { state.withLock { $0.chunks.reduce(0) { $0 + $1.bytes.count } } }

    /// Appends a chunk. Returns true if the reactor must stop reading until the reader calls `resume`.
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

    /// Marks the end: the reader receives the chunks in the buffer, then nil.
    func finish() {
        let waiter = state.withLock { state in
            state.finished = true
            return state.takeWaiter()
        }
        waiter?.resume(returning: true)
    }

    /// Drops the chunks in the buffer and all later ones.
    func discard() {
        let waiter = state.withLock { state in
            let waiter = state.takeWaiter()
            state = State(finished: state.finished, discarding: true)
            return waiter
        }
        waiter?.resume(returning: true)
    }

    /// Waits for the next chunk and returns it; nil at the end, if the output is discarded, or if the calling task is
    /// cancelled. Calls `resume` if the reactor may read again.
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
            // The array keeps its place until the group is removed, but not its bytes.
            state.chunks[state.next] = ChildProcess.OutputChunk(stream: chunk.stream, bytes: [])
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

    /// Waits until there is something to take. Returns false if the reader should give up.
    private func wait() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (resumed, shouldLook) = state.withLock { state -> (Waiter?, Bool) in
                    // Cancelled before the waiter was stored: the handler below found none to resume.
                    if Task.isCancelled { return (continuation, false) }
                    if state.next < state.chunks.count || state.finished || state.discarding {
                        return (continuation, true)
                    }
                    defer { state.waiter = continuation }
                    return (state.waiter, false)
                }
                resumed?.resume(returning: shouldLook)
            }
        } onCancel: {
            state.withLock { $0.takeWaiter() }?.resume(returning: false)
        }
    }
}
