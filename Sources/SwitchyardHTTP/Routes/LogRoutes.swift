import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import Switchyard

// The output of a task: as text, as JSON entries, or followed while it is written.

extension API {
    /// Entries read from Redis at once. One has at most 64 KiB, so a reader needs at most 4 MiB of memory.
    static let logPage = 64

    func addLogs(to routes: inout Routes) {
        routes.on(.get, "/scheduler/task/:id/log") { request, context in
            let query = try Query(request, ["queue", "follow", "format", "after", "limit"])
            let handle = try handle(query)
            let id = try name(context, "id", field: "task_id")
            let isFollowing = try query.flag("follow")
            let wantsJSON = try wantsJSON(request, query)
            let limit = try query.integer("limit", in: 1...1000) ?? 100
            let after = try cursor(request, query)
            let task = try await handle.getTask(id)
            if isFollowing { return try follow(id, handle, after: after, context) }
            let isRemoved = task.logRemoved != nil && after == "0"
            if wantsJSON {
                return try await logEntries(id, handle, after: after, limit: limit, isRemoved: isRemoved)
            }
            return try await logText(id, handle, after: after, isRemoved: isRemoved)
        }
    }

    /// Returns the id of the entry after which to read: `Last-Event-ID` if the client resumes a stream, else `?after=`.
    private func cursor(_ request: Request, _ query: Query) throws -> String {
        let resumed = request.headers[.lastEventID]
        guard let cursor = resumed ?? query["after"] else { return "0" }
        let parts = cursor.split(separator: "-", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), parts.allSatisfy({ $0.first?.isNumber == true && UInt64($0) != nil })
        else {
            throw Problem.badRequest(
                resumed == nil ? "after" : "Last-Event-ID",
                "expected the id of a log entry such as 1767225600000-0, found \(Name.shown(cursor))")
        }
        return cursor
    }

    private func wantsJSON(_ request: Request, _ query: Query) throws -> Bool {
        switch query["format"] {
        case nil: request.headers[.accept]?.contains("application/json") ?? false
        case "json": true
        case "text": false
        case .some(let text): throw Problem.badRequest("format", "expected json or text, found \(Name.shown(text))")
        }
    }

    /// Returns a page of entries and, if there may be more, the cursor (`?after=`) of the next page.
    private func logEntries(
        _ id: String, _ handle: SchedulerHandle, after: String, limit: Int, isRemoved: Bool
    ) async throws -> Response {
        let entries = try await handle.readLog(id, after: after, limit: limit)
        var json: JSONValue = [
            "entries": .array(entries.map(LogJSON.json)),
            "cursor": JSONValue(entries.count == limit ? entries.last?.id : nil),
        ]
        if isRemoved { json.add("removed", .string(LogEntry.removal)) }
        return .json(json)
    }

    /// Returns the output of all attempts byte for byte, stdout and stderr in the order of arrival. A line in brackets
    /// stands for output that is missing.
    private func logText(
        _ id: String, _ handle: SchedulerHandle, after: String, isRemoved: Bool
    ) async throws -> Response {
        // The first page is read before the response begins, so that an error still gets its own status.
        let first = try await handle.readLog(id, after: after, limit: Self.logPage)
        let body = ResponseBody { writer in
            if isRemoved { try await writer.write(ByteBuffer(string: "[switchyard: \(LogEntry.removal)]\n")) }
            var page = first
            while !page.isEmpty {
                try await writer.write(
                    contentsOf: page.flatMap { entry in
                        entry.mark.map { [ByteBuffer(string: $0), entry.data] } ?? [entry.data]
                    })
                guard page.count == Self.logPage, let last = page.last else { break }
                page = try await handle.readLog(id, after: last.id, limit: Self.logPage)
            }
            try await writer.finish(nil)
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/plain; charset=utf-8", .cacheControl: "no-store", .xContentTypeOptions: "nosniff",
            ],
            body: body)
    }
}
