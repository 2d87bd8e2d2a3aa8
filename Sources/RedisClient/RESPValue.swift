import NIOCore

/// One value of the Redis protocol (RESP2), as a server sent it.
///
/// An error inside an array (a failed command in `EXEC`, an error in a script's table) stays a value. An error that is
/// the whole reply is thrown by ``RedisClient/send(_:deadline:)`` and, for a blocking command, by `sendBlocking`; it
/// stays a value among the replies of ``RedisClient/pipeline(_:deadline:)``.
public enum RESPValue: Sendable, Equatable {
    /// A status such as `OK`.
    case simpleString(String)
    /// An error reply.
    // Indirect: an error is large and rare, and would otherwise set the size of every element of every array.
    indirect case error(RedisError)
    /// A signed 64-bit integer.
    case integer(Int64)
    /// Any bytes.
    case bulkString(ByteBuffer)
    /// The absence of a value, as a string or as an array.
    case null
    /// Values of any kind.
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
        // Fast path: names, ids and numbers are ASCII. Creating a string from ASCII is several times faster than
        // validating UTF-8.
        if bytes.isASCII { return String(decoding: bytes, as: UTF8.self) }
        return String(validating: bytes, as: UTF8.self)
    }

    /// The number of an integer, or of a string that is a decimal integer, as Redis returns a stored counter.
    public var int: Int64? {
        switch self {
        case .integer(let number): number
        case .simpleString(let text): Int64(text)
        case .bulkString(let buffer): buffer.withUnsafeReadableBytes(Self.number)
        case .error, .null, .array: nil
        }
    }

    /// Returns `Int64(String)`; numbers of up to 18 digits are read without creating a string.
    private static func number(_ bytes: UnsafeRawBufferPointer) -> Int64? {
        guard (1...18).contains(bytes.count), bytes.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return text(bytes).flatMap { Int64($0) }
        }
        return bytes.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
    }

    /// Whether this is a simple or bulk string with exactly these bytes: `string == text`, without creating a string.
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

    /// The error of an error reply; nil for anything else.
    public var error: RedisError? {
        if case .error(let error) = self { error } else { nil }
    }

    /// Whether this is a null, of either kind (`$-1`, `*-1`).
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
