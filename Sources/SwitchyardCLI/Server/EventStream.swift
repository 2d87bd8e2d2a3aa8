/// Parses server-sent events from chunks of any size.
struct EventStream: Sendable {
    struct Event: Sendable, Equatable {
        /// "message" unless the server names the event.
        var name = "message"
        var data = ""
        /// The id after which to resume. An event without an id has that of the event before it.
        var id: String?
    }

    private var line: [UInt8] = []
    private var lastWasCarriageReturn = false
    private var name: String?
    private var data: [String] = []
    private var id: String?

    /// Returns the events that these bytes complete.
    mutating func feed(_ bytes: some Sequence<UInt8>) -> [Event] {
        var events: [Event] = []
        for byte in bytes {
            defer { lastWasCarriageReturn = byte == UInt8(ascii: "\r") }
            switch byte {
            case UInt8(ascii: "\n") where lastWasCarriageReturn: break
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
                if let event = endLine() { events.append(event) }
            default: line.append(byte)
            }
        }
        return events
    }

    private mutating func endLine() -> Event? {
        defer { line.removeAll(keepingCapacity: true) }
        guard !line.isEmpty else {
            defer { (name, data) = (nil, []) }
            return data.isEmpty ? nil : Event(name: name ?? "message", data: data.joined(separator: "\n"), id: id)
        }
        let text = String(decoding: line, as: UTF8.self)
        let colon = text.firstIndex(of: ":") ?? text.endIndex
        var value = colon == text.endIndex ? "" : text[text.index(after: colon)...]
        if value.first == " " { value.removeFirst() }
        switch text[..<colon] {
        case "event": name = String(value)
        case "data": data.append(String(value))
        case "id": id = String(value)
        default: break  // comments (an empty name) and unused fields
        }
        return nil
    }
}
