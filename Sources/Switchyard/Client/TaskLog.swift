import Foundation
import NIOCore
import RedisClient

/// A piece of a task's output, as its worker sent it.
public struct LogEntry: Sendable, Equatable {
    /// The id of the stream entry (`<ms>-<n>`). It is the cursor for reading on.
    public var id: String
    /// The attempt that wrote the output.
    public var attempt: Int
    /// `stdout` or `stderr`.
    public var stream: String
    /// The output.
    public var data: ByteBuffer

    /// When Redis received the entry.
    public var writtenAt: Date? {
        id.split(separator: "-").first.flatMap { Double($0) }.map { Date(timeIntervalSince1970: $0 / 1000) }
    }
}

extension SchedulerHandle {
    /// Returns the output of a task after the entry `after`, oldest first. A log is capped, so the oldest entries may
    /// be gone. The log of an unknown task is empty.
    /// - Parameters:
    ///   - after: an entry's id; "0" reads from the oldest entry.
    ///   - limit: the maximum number of entries.
    /// - Throws: `invalidInput` for an invalid id.
    public func readLog(_ id: String, after: String = "0", limit: Int = 1000) async throws -> [LogEntry] {
        let after = try Self.validated(cursor: after)
        let functions = try await functions(of: try Name.validate(id, field: "task_id"))
        let key = functions.keys.log(id)
        return try await redis {
            let command = RedisCommand(
                "XRANGE", [.string(key), .string("(\(after)"), "+", "COUNT", .integer(Int64(limit))])
            return Self.entries(try await functions.client.send(command, isBulk: true))
        }
    }

    /// Like ``readLog(_:after:limit:)``, but waits up to `timeout` for the first entry, and returns at most 100.
    public func followLog(_ id: String, after: String, timeout: Duration) async throws -> [LogEntry] {
        let after = try Self.validated(cursor: after)
        let functions = try await functions(of: try Name.validate(id, field: "task_id"))
        let key = functions.keys.log(id)
        return try await redis {
            let command = RedisCommand(
                "XREAD",
                [
                    "COUNT", "100", "BLOCK", .integer(Int64(max(timeout.milliseconds, 1))), "STREAMS", .string(key),
                    .string(after),
                ])
            let reply = try await functions.client.sendBlocking(command, timeout: timeout)
            return Self.entries(reply.array?.first?.array?.last ?? .null)
        }
    }

    private func redis<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    private static func validated(cursor: String) throws(SchedulerError) -> String {
        guard !cursor.isEmpty, cursor.utf8.count <= 41,
            cursor.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: "-") })
        else {
            throw .invalidInput(
                field: "after", message: "after: expected the id of a log entry, found \(Name.shown(cursor))")
        }
        return cursor
    }

    private static func entries(_ reply: RESPValue) -> [LogEntry] {
        (reply.array ?? []).compactMap { entry in
            guard let parts = entry.array, parts.count == 2, let id = parts[0].string,
                let fields = try? ReplyFields(parts[1])
            else { return nil }
            return LogEntry(
                id: id, attempt: fields.int("attempt"), stream: fields.string("stream") ?? "stdout",
                data: fields.bytes("data") ?? ByteBuffer())
        }
    }
}
