import Foundation

/// Any JSON value, for the parts of a response that the command shows without interpreting them.
enum JSONValue: Sendable, Equatable, Codable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// A decoder for the server's responses: `task_id` becomes `taskId`.
    static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    subscript(name: String) -> JSONValue? {
        if case .object(let members) = self { members[name] } else { nil }
    }

    var array: [JSONValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    var int: Int? {
        switch self {
        case .integer(let value): Int(clamping: value)
        case .number(let value): Int(exactly: value.rounded())
        default: nil
        }
    }

    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// The value as a person reads it: a string without quotes, anything else as compact JSON.
    var text: String {
        if case .string(let value) = self { return value }
        return JSONText.encode(self)
    }
}

/// JSON as text: sorted keys, one line, unescaped slashes.
enum JSONText {
    static func encode(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Encoding fails only for numbers that JSON lacks (infinity, NaN), and no value here has one.
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "null"
    }

    static func isValid(_ text: String) -> Bool {
        (try? JSONSerialization.jsonObject(with: Data(text.utf8), options: [.fragmentsAllowed])) != nil
    }
}

/// Builds a JSON object as text, so that a payload reaches the server byte for byte.
struct JSONObjectText: Sendable {
    private(set) var members: [(name: String, json: String)] = []

    mutating func add(_ name: String, _ value: (some Encodable)?) {
        if let value { members.append((name, JSONText.encode(value))) }
    }

    mutating func add(_ name: String, json: String?) {
        if let json { members.append((name, json)) }
    }

    var text: String {
        "{" + members.map { "\(JSONText.encode($0.name)):\($0.json)" }.joined(separator: ",") + "}"
    }
}
