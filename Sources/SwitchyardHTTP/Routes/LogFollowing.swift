import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import ServiceLifecycle
import Switchyard
import Synchronization

/// Limits the clients that follow logs at once: each needs a connection to Redis.
final class FollowerLimit: Sendable {
    let most: Int
    private let count = Mutex(0)

    init(_ most: Int) { self.most = most }

    /// Counts one more follower. Returns false if the limit is reached.
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
            .serviceUnavailable, code: "Internal", "\(most) clients follow logs already, which is the limit")
        problem.retryAfter = Problem.retryAfter
        problem.limit = most
        return problem
    }
}

/// Sends a task's log as server-sent events while it grows. The id of an event is the id of its log entry, so a client
/// that lost its connection resumes after the last entry that it received (`Last-Event-ID`). `event: end` follows when
/// the task has ended and everything has been sent; a stream that stops without it was interrupted.
struct LogFollowing: Sendable {
    let handle: SchedulerHandle
    let taskID: String
    let after: String
    let limit: FollowerLimit

    /// While the task writes nothing, its state is read this often, to see whether it has ended.
    private static let pause: Duration = .seconds(1)
    /// A comment is sent after this long without an event: only a write shows that the client has gone.
    private static let heartbeat: Duration = .seconds(10)

    /// The result of reading the log once.
    private enum Step: Sendable {
        case entries([LogEntry])
        case ended(String)
        case shuttingDown
    }

    func write(to writer: inout any ResponseBodyWriter) async throws {
        guard limit.enter() else {
            // Other clients reached the limit after this request was checked.
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

    /// Waits up to `pause` for entries. If the task has ended, reads the rest of its log.
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

    /// Returns nil if the task has been deleted.
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
