import Switchyard

/// A JSON value that keeps the digits of numbers and the order of object members. A payload that is read and written
/// again differs only in the white space between its tokens and in how its characters are escaped.
enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// The number's text, which must match JSON's grammar.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])
    /// Text that must be valid JSON; it is written as it is.
    case raw(String)

    struct Member: Sendable, Equatable {
        var name: String
        var value: JSONValue
    }

    /// The value in a short, printable form for error messages.
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

// Building responses: `["task_id": .string(id)]` keeps the order of its members, and nil becomes null.

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByStringLiteral, ExpressibleByBooleanLiteral {
    init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { Member(name: $0.0, value: $0.1) })
    }

    init(stringLiteral value: String) { self = .string(value) }
    init(booleanLiteral value: Bool) { self = .bool(value) }

    init(_ value: String?) { self = value.map { .string($0) } ?? .null }
    init(_ value: Int?) { self = value.map { .number("\($0)") } ?? .null }
    init(_ values: [String]) { self = .array(values.map { .string($0) }) }

    /// The duration in seconds, to the millisecond; whole seconds are written without a fraction.
    init(_ value: Duration?) {
        guard let value else {
            self = .null
            return
        }
        let milliseconds = value.milliseconds
        self = milliseconds % 1000 == 0 ? .number("\(milliseconds / 1000)") : .number("\(Double(milliseconds) / 1000)")
    }

    /// Adds a member to an object, unless its value is nil.
    mutating func add(_ name: String, _ value: JSONValue?) {
        guard case .object(var members) = self, let value else { return }
        members.append(Member(name: name, value: value))
        self = .object(members)
    }
}
