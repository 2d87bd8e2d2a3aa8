import Foundation
import JSON
import NIOCore
import Switchyard

// JSON values from and to the bytes of HTTP, and the forms of times and durations.

extension JSONReader {
    /// - Throws: ``JSONReader/Failure``.
    static func read(_ buffer: ByteBuffer) throws(Failure) -> JSONValue {
        try read(Array(buffer.readableBytesView))
    }
}

extension JSONValue {
    var buffer: ByteBuffer { ByteBuffer(bytes: bytes) }

    /// Whether every number in the value is finite as a double and has few digits: other parsers refuse `1e999`, or a
    /// number of a million digits.
    var hasFiniteNumbers: Bool {
        switch self {
        case .number(let text): text.utf8.count <= 1000 && Double(text)?.isFinite == true
        case .array(let values): values.allSatisfy(\.hasFiniteNumbers)
        case .object(let members): members.allSatisfy(\.value.hasFiniteNumbers)
        case .null, .bool, .string, .raw: true
        }
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

    /// The duration in seconds, to the millisecond; whole seconds are written without a fraction.
    init(_ value: Duration?) {
        self = value.map { JSONValue(Double($0.milliseconds) / 1000) } ?? .null
    }

    /// The time as RFC 3339 text.
    init(_ date: Date?) { self = date.map { .string(RFC3339.text($0)) } ?? .null }
}
