import NIOCore

/// One value of the Redis protocol (RESP2), as a server sent it.
///
/// An error inside an array (a failed command in `EXEC`, an error in a script's table) stays a value here; only an
/// error that is the whole reply is thrown, and only by ``RedisClient/send(_:deadline:)``.
public enum RESPValue: Sendable, Equatable {
    case simpleString(String)
    // Boxed: errors are rare and wide, and every element of every array would otherwise be as wide.
    indirect case error(RedisError)
    case integer(Int64)
    case bulkString(ByteBuffer)
    case null
    case array([RESPValue])
}

extension RESPValue {
    /// The text of a simple or bulk string; nil for anything else, and for bytes that are not UTF-8 (see ``bytes``).
    public var string: String? {
        switch self {
        case .simpleString(let text): text
        case .bulkString(let buffer): buffer.withUnsafeReadableBytes(Self.text)
        case .error, .integer, .null, .array: nil
        }
    }

    private static func text(_ bytes: UnsafeRawBufferPointer) -> String? {
        // Names, ids and numbers are ASCII, of which a string is made several times faster than of text to be validated.
        if bytes.isASCII { return String(decoding: bytes, as: UTF8.self) }
        return String(validating: bytes, as: UTF8.self)
    }

    /// An integer, or a string that is a decimal integer: the way Redis sends a counter that was stored as a value.
    public var int: Int64? {
        switch self {
        case .integer(let number): number
        case .simpleString(let text): Int64(text)
        case .bulkString(let buffer): buffer.withUnsafeReadableBytes(Self.number)
        case .error, .null, .array: nil
        }
    }

    /// Like `Int64(String)`, without the string for numbers of up to 18 digits.
    private static func number(_ bytes: UnsafeRawBufferPointer) -> Int64? {
        guard (1...18).contains(bytes.count), bytes.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return text(bytes).flatMap { Int64($0) }
        }
        return bytes.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
    }

    /// Whether this is a simple or bulk string with just these bytes: as `string == text`, without making a string.
    public func isText(_ text: StaticString) -> Bool {
        switch self {
        case .simpleString(let own):
            return own == text.description
        case .bulkString(let buffer):
            guard buffer.readableBytes == text.utf8CodeUnitCount else { return false }
            return buffer.withUnsafeReadableBytes { bytes in
                bytes.elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
            }
        case .error, .integer, .null, .array:
            return false
        }
    }

    /// The elements of an array; nil for anything else.
    public var array: [RESPValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The bytes of a simple or bulk string; nil for anything else.
    public var bytes: ByteBuffer? {
        switch self {
        case .simpleString(let text): ByteBuffer(string: text)
        case .bulkString(let buffer): buffer
        case .error, .integer, .null, .array: nil
        }
    }

    /// The error, when this value is one.
    public var error: RedisError? {
        if case .error(let error) = self { error } else { nil }
    }

    /// Whether this is RESP's null, of either kind (`$-1`, `*-1`).
    public var isNull: Bool { self == .null }
}

extension UnsafeRawBufferPointer {
    fileprivate var isASCII: Bool {
        var bits: UInt64 = 0
        var offset = 0
        while offset + 8 <= count {
            bits |= loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            offset += 8
        }
        while offset < count {
            bits |= UInt64(self[offset])
            offset += 1
        }
        return bits & 0x8080_8080_8080_8080 == 0
    }
}
