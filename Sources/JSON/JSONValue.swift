/// A JSON value that keeps the digits of numbers and the order of object members. A payload that is read and written
/// again differs only in the white space between its tokens and in how its characters are escaped.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// The number's text, which must match JSON's grammar.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])
    /// Text that must be valid JSON; it is written as it is.
    case raw(String)

    package struct Member: Sendable, Equatable {
        package var name: String
        package var value: JSONValue

        package init(name: String, value: JSONValue) {
            self.name = name
            self.value = value
        }
    }
}

// Building values: `["task_id": .string(id)]` keeps the order of its members, and nil becomes null.

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByStringLiteral, ExpressibleByBooleanLiteral {
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { Member(name: $0.0, value: $0.1) })
    }

    package init(stringLiteral value: String) { self = .string(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }

    package init(_ value: String?) { self = value.map { .string($0) } ?? .null }
    package init(_ value: Int?) { self = value.map { .number("\($0)") } ?? .null }
    package init(_ values: [String]) { self = .array(values.map { .string($0) }) }

    /// The number without the fraction `.0`. Infinity and NaN, which JSON lacks, become null.
    package init(_ value: Double) {
        let text = "\(value)"
        self = value.isFinite ? .number(text.hasSuffix(".0") ? String(text.dropLast(2)) : text) : .null
    }

    /// An object whose members are sorted by name.
    package init(sorted members: [String: JSONValue]) {
        self = .object(members.sorted { $0.key < $1.key }.map { Member(name: $0.key, value: $0.value) })
    }

    /// An object of texts, sorted by name.
    package init(sorted texts: [String: String]) { self.init(sorted: texts.mapValues { .string($0) }) }

    /// Adds a member to an object, unless its value is nil.
    package mutating func add(_ name: String, _ value: JSONValue?) {
        guard case .object(var members) = self, let value else { return }
        // Two references to the members would copy them at every addition.
        self = .null
        members.append(Member(name: name, value: value))
        self = .object(members)
    }
}

// Reading parts: each is nil if the value is of another kind.

extension JSONValue {
    /// The member of an object. If the name repeats, its last member counts.
    package subscript(name: String) -> JSONValue? {
        if case .object(let members) = self { members.last { $0.name == name }?.value } else { nil }
    }

    package var array: [JSONValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    package var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    package var double: Double? {
        if case .number(let text) = self { Double(text) } else { nil }
    }

    /// The number, rounded if it has a fraction.
    package var int: Int? {
        guard case .number(let text) = self else { return nil }
        return Int(text) ?? Double(text).flatMap { Int(exactly: $0.rounded()) }
    }
}
