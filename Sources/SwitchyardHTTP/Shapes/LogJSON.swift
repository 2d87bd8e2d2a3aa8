import JSON
import Switchyard

/// An entry of a task's log.
enum LogJSON {
    /// The entry with its id and time, for a list.
    static func json(_ entry: LogEntry) -> JSONValue {
        var json: JSONValue = ["id": .string(entry.id), "written_at": JSONValue(entry.writtenAt)]
        addContent(entry, to: &json)
        return json
    }

    /// The entry without its id and time, for an event whose `id:` line carries the id.
    static func event(_ entry: LogEntry) -> JSONValue {
        var json: JSONValue = [:]
        addContent(entry, to: &json)
        return json
    }

    private static func addContent(_ entry: LogEntry, to json: inout JSONValue) {
        json.add("attempt", JSONValue(entry.attempt))
        json.add("stream", .string(entry.stream))
        TaskJSON.addText("data", entry.data, to: &json)
        if entry.missingBytes > 0 { json.add("missing_bytes", JSONValue(entry.missingBytes)) }
    }
}
