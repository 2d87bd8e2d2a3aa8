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
    let client: Client

    /// A comment is sent after this long without an event: only a write shows that the network to a client is gone.
    private static let heartbeat: Duration = .seconds(10)

    /// The result of reading the log once.
    private enum Step: Sendable {
        case entries([LogEntry])
        case ended(String)
        /// The client has left, the server is shutting down, or Redis is away. Without the event `end`, the client
        /// knows that it must ask again.
        case stopped
    }

    func write(to writer: inout any ResponseBodyWriter) async throws {
        guard limit.enter() else {
            // Other clients reached the limit after this request was checked.
            try await writer.write(Self.event("error", JSONValue.string(limit.problem.message).text))
            return try await writer.finish(nil)
        }
        defer { limit.leave() }
        let end = TaskEnd(of: taskID, handle)
        defer { end.stopWaiting() }
        try await writer.write(ByteBuffer(string: "retry: 1000\n\n"))
        var cursor = after
        while true {
            switch try await step(after: cursor, end) {
            case .entries(let entries):
                for entry in entries {
                    try await writer.write(
                        ByteBuffer(string: "id: \(entry.id)\ndata: \(LogJSON.event(entry).text)\n\n"))
                    cursor = entry.id
                }
                if entries.isEmpty { try await writer.write(ByteBuffer(string: ": waiting\n\n")) }
            case .ended(let state):
                var end: JSONValue = ["task_id": .string(taskID), "state": .string(state)]
                if after == "0", try await isRemoved() { end.add("removed", .string(LogEntry.removal)) }
                try await writer.write(Self.event("end", end.text))
                return try await writer.finish(nil)
            case .stopped:
                return try await writer.finish(nil)
            }
        }
    }

    /// Waits up to `heartbeat` for entries. If the task has ended, reads the rest of its log.
    private func step(after cursor: String, _ end: TaskEnd) async throws -> Step {
        do {
            return try await client.whilePresent {
                try await cancelWhenGracefulShutdown {
                    // Many clients that came at once do not read at once.
                    let time = Self.heartbeat * Double.random(in: 0.7...1)
                    if let entries = try await end.orValue(
                        of: { try await handle.followLog(taskID, after: cursor, timeout: time) })
                    {
                        return .entries(entries)
                    }
                    let rest = try await handle.readLog(taskID, after: cursor, limit: API.logPage)
                    return rest.isEmpty ? .ended(try end.state()) : .entries(rest)
                }
            }
        } catch is CancellationError where !Task.isCancelled {
            return .stopped
        } catch SchedulerError.internal(_, redisAway: true) {
            return .stopped
        }
    }

    /// Whether the log was removed. A task that is gone has none.
    private func isRemoved() async throws -> Bool {
        do {
            return try await handle.getTask(taskID).logRemoved != nil
        } catch SchedulerError.taskNotFound {
            return false
        }
    }

    private static func event(_ name: String, _ data: String) -> ByteBuffer {
        ByteBuffer(string: "event: \(name)\ndata: \(data)\n\n")
    }
}

extension API {
    func follow(
        _ id: String, _ handle: SchedulerHandle, after: String, _ context: ClientContext
    ) throws -> Response {
        if followers.isFull { throw followers.problem }
        guard let client = connections.client(of: context.channel) else { throw CancellationError() }
        let following = LogFollowing(handle: handle, taskID: id, after: after, limit: followers, client: client)
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/event-stream", .cacheControl: "no-store", .xContentTypeOptions: "nosniff",
            ],
            body: ResponseBody { writer in try await following.write(to: &writer) })
    }
}
