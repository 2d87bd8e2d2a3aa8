import Switchyard

/// A JSON value as it was written: numbers keep their digits, objects their order. So a payload leaves as it came,
/// apart from the white space between its tokens and the way its characters are escaped.
enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// The number's text, which JSON's grammar accepts.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])
    /// Text that is known to be JSON.
    case raw(String)

    struct Member: Sendable, Equatable {
        var name: String
        var value: JSONValue
    }

    /// What the value is, as a message may show it: short and printable.
    var shown: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .number(let text): text.utf8.count > 40 ? "\(text.prefix(40))…" : text
        case .string(let text): Name.shown(text)
        case .array: "an array"
        case .object: "an object"
        case .raw: "a value"
        }
    }
}

// How answers are written: `.object(["task_id": .string(id)])` keeps the order given, and nil becomes null.

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByStringLiteral, ExpressibleByBooleanLiteral {
    init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { Member(name: $0.0, value: $0.1) })
    }

    init(stringLiteral value: String) { self = .string(value) }
    init(booleanLiteral value: Bool) { self = .bool(value) }

    init(_ value: String?) { self = value.map { .string($0) } ?? .null }
    init(_ value: Int?) { self = value.map { .number("\($0)") } ?? .null }
    init(_ values: [String]) { self = .array(values.map { .string($0) }) }

    /// Seconds, exact to the millisecond; whole seconds are written without a fraction.
    init(_ value: Duration?) {
        guard let value else {
            self = .null
            return
        }
        let milliseconds = value.milliseconds
        self = milliseconds % 1000 == 0 ? .number("\(milliseconds / 1000)") : .number("\(Double(milliseconds) / 1000)")
    }

    /// Adds a member, unless its value is nil.
    mutating func add(_ name: String, _ value: JSONValue?) {
        guard case .object(var members) = self, let value else { return }
        members.append(Member(name: name, value: value))
        self = .object(members)
    }
}
