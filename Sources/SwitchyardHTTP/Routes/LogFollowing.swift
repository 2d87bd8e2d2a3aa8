import HTTPTypes
import Hummingbird
import NIOCore
import ServiceLifecycle
import Switchyard
import Synchronization

/// How many follow logs, bounded because each holds a connection to Redis.
final class FollowerLimit: Sendable {
    let most: Int
    private let count = Mutex(0)

    init(_ most: Int) { self.most = most }

    /// False when there are as many as there may be.
    func enter() -> Bool {
        count.withLock { count in
            guard count < most else { return false }
            count += 1
            return true
        }
    }

    func leave() { count.withLock { $0 -= 1 } }

    var isFull: Bool { count.withLock { $0 >= most } }

    var problem: Problem {
        var problem = Problem(
            .serviceUnavailable, code: "Internal", "\(most) clients follow logs already, which is the most there may be"
        )
        problem.retryAfter = Problem.retryAfter
        problem.limit = most
        return problem
    }
}

/// A log as server-sent events, written as it grows. Each event's id is its entry's, so that a client which lost its
/// connection goes on where it was (`Last-Event-ID`). `event: end` follows when the task has ended and all has been
/// sent; a stream that stops without it was broken off, and is to be resumed.
struct LogFollowing: Sendable {
    let handle: SchedulerHandle
    let taskID: String
    let after: String
    let limit: FollowerLimit

    /// Between two looks whether the task has ended, while nothing is written.
    private static let pause: Duration = .seconds(1)
    /// A comment is sent when nothing else was for this long: a client that has gone is noticed by writing to it.
    private static let heartbeat: Duration = .seconds(10)

    /// What came of the last look at the log.
    private enum Step: Sendable {
        case entries([LogEntry])
        case ended(String)
        case shuttingDown
    }

    func write(to writer: inout any ResponseBodyWriter) async throws {
        guard limit.enter() else {
            // Others were faster since the head was written.
            try await writer.write(Self.event("error", JSONValue.string(limit.problem.message).text))
            return try await writer.finish(nil)
        }
        defer { limit.leave() }
        try await writer.write(ByteBuffer(string: "retry: 1000\n\n"))
        var cursor = after
        var lastWrite = ContinuousClock.now
        while true {
            switch try await step(after: cursor) {
            case .entries(let entries):
                for entry in entries {
                    try await writer.write(
                        ByteBuffer(string: "id: \(entry.id)\ndata: \(LogJSON.event(entry).text)\n\n"))
                    cursor = entry.id
                }
                if !entries.isEmpty {
                    lastWrite = .now
                } else if ContinuousClock.now - lastWrite >= Self.heartbeat {
                    try await writer.write(ByteBuffer(string: ": waiting\n\n"))
                    lastWrite = .now
                }
            case .ended(let state):
                let end: JSONValue = ["task_id": .string(taskID), "state": .string(state)]
                try await writer.write(Self.event("end", end.text))
                return try await writer.finish(nil)
            case .shuttingDown:
                return try await writer.finish(nil)
            }
        }
    }

    /// Waits a moment for entries. An ended task is looked at once more, for what it wrote last.
    private func step(after cursor: String) async throws -> Step {
        do {
            return try await cancelWhenGracefulShutdown {
                let state = try await state()
                guard let state, !state.isTerminal else {
                    let rest = try await handle.readLog(taskID, after: cursor, limit: API.logPage)
                    return rest.isEmpty ? .ended(state?.rawValue ?? "deleted") : .entries(rest)
                }
                return .entries(try await handle.followLog(taskID, after: cursor, timeout: Self.pause))
            }
        } catch is CancellationError where !Task.isCancelled {
            return .shuttingDown
        }
    }

    /// Nil when the task was deleted meanwhile.
    private func state() async throws -> TaskState? {
        try await handle.getTasks([taskID]).first??.state
    }

    private static func event(_ name: String, _ data: String) -> ByteBuffer {
        ByteBuffer(string: "event: \(name)\ndata: \(data)\n\n")
    }
}

extension API {
    func follow(_ id: String, _ handle: SchedulerHandle, after: String) throws -> Response {
        if followers.isFull { throw followers.problem }
        let following = LogFollowing(handle: handle, taskID: id, after: after, limit: followers)
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/event-stream", .cacheControl: "no-store", .xContentTypeOptions: "nosniff",
            ],
            body: ResponseBody { writer in try await following.write(to: &writer) })
    }
}
