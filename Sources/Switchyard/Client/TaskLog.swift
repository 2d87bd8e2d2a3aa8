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
    /// How many bytes of the task's output are missing before this entry: the log is full, or its worker lost them.
    public var missingBytes = 0

    /// When Redis received the entry.
    public var writtenAt: Date? {
        id.split(separator: "-").first.flatMap { Double($0) }.flatMap { Date(milliseconds: $0) }
    }

    /// The text that stands for the missing bytes where the log is shown as text; nil if none are missing.
    public var mark: String? { Self.mark(missingBytes: missingBytes) }

    /// The text that stands for `missingBytes` bytes; nil for 0.
    public static func mark(missingBytes: Int) -> String? {
        missingBytes > 0 ? "\n[switchyard: \(missingBytes) bytes of output are missing here]\n" : nil
    }

    /// The text that stands for a log that was removed.
    public static let removal = "its log was removed to keep within log_budget"

    /// How many bytes of output precede the entry: the second part of its id. Entries of an earlier library have
    /// smaller numbers, which show no gap.
    private var offset: Int { Self.offset(in: id) }

    fileprivate static func offset(in id: String) -> Int {
        let number = id.split(separator: "-").dropFirst().first.flatMap { Int64($0) }
        return number.flatMap { NumberRange.count.values.contains($0) ? Int($0) : nil } ?? 0
    }

    /// The offset after the entry.
    fileprivate var end: Int { offset + data.readableBytes }

    /// Sets `missingBytes` of each entry. `end`: the offset after the entry before the first; nil: not known.
    fileprivate static func markGaps(_ entries: inout [LogEntry], after end: Int?) {
        var end = end
        for index in entries.indices {
            if let end { entries[index].missingBytes = max(0, entries[index].offset - end) }
            end = entries[index].end
        }
    }
}

extension SchedulerHandle {
    /// Returns the output of a task after the entry `after`, oldest first. A log is capped: the beginning and the end
    /// of a long output are kept, and ``LogEntry/missingBytes`` says what is missing between them. The log of an
    /// unknown task is empty.
    /// - Parameters:
    ///   - after: an entry's id; "0" reads from the oldest entry.
    ///   - limit: the maximum number of entries.
    /// - Throws: `invalidInput` for an invalid id.
    public func readLog(_ id: String, after: String = "0", limit: Int = 1000) async throws -> [LogEntry] {
        let after = try Self.validated(cursor: after)
        let functions = try await functions(of: try Name.validate(id, field: "task_id"))
        let key = functions.keys.log(id)
        return try await functions.reaching { client in
            // The entry `after` itself is read too: a gap begins at its end.
            let command = RedisCommand(
                "XRANGE", [.string(key), .string(after), "+", "COUNT", .integer(Int64(limit) + 1)])
            let found = Self.entries(try await client.send(command, traffic: .bulk))
            return Array(Self.following(after, found).prefix(limit))
        }
    }

    /// Like ``readLog(_:after:limit:)``, but waits up to `timeout` for the first entry, and returns at most 100.
    public func followLog(_ id: String, after: String, timeout: Duration) async throws -> [LogEntry] {
        let after = try Self.validated(cursor: after)
        let functions = try await functions(of: try Name.validate(id, field: "task_id"))
        let key = functions.keys.log(id)
        return try await functions.reaching(mayTakeLong: true) { client in
            let command = RedisCommand(
                "XREAD",
                [
                    "COUNT", "100", "BLOCK", .integer(Int64(max(timeout.milliseconds, 1))), "STREAMS", .string(key),
                    .string(after),
                ])
            let reply = try await client.sendBlocking(command, timeout: timeout)
            let found = Self.entries(reply.array?.first?.array?.last ?? .null)
            if found.isEmpty || after == "0" { return Self.following(after, found) }
            let previous = RedisCommand("XRANGE", [.string(key), .string(after), .string(after)])
            return Self.following(after, Self.entries(try await client.send(previous)) + found)
        }
    }

    /// Returns the entries without the entry `after`, with the gaps between them. If that entry was deleted since it
    /// was read, the gap begins where it began.
    static func following(_ after: String, _ entries: [LogEntry]) -> [LogEntry] {
        var entries = entries
        if entries.first?.id == (after.contains("-") ? after : after + "-0") {
            LogEntry.markGaps(&entries, after: nil)
            return Array(entries.dropFirst())
        }
        let offset = LogEntry.offset(in: after)
        LogEntry.markGaps(&entries, after: after == "0" || offset > 0 ? offset : nil)
        return entries
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

    static func entries(_ reply: RESPValue) -> [LogEntry] {
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
