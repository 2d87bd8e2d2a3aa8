import Switchyard

/// A piece of a task's output.
enum LogJSON {
    /// With its id and time, for a list.
    static func json(_ entry: LogEntry) -> JSONValue {
        var json: JSONValue = ["id": .string(entry.id), "written_at": JSONValue(entry.writtenAt)]
        addContent(entry, to: &json)
        return json
    }

    /// Without, for an event that has the id beside its data.
    static func event(_ entry: LogEntry) -> JSONValue {
        var json: JSONValue = [:]
        addContent(entry, to: &json)
        return json
    }

    private static func addContent(_ entry: LogEntry, to json: inout JSONValue) {
        json.add("attempt", JSONValue(entry.attempt))
        json.add("stream", .string(entry.stream))
        TaskJSON.addText("data", entry.data, to: &json)
    }
}
