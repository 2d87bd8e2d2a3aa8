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
        case .bulkString(let buffer): String(validating: buffer.readableBytesView, as: UTF8.self)
        case .error, .integer, .null, .array: nil
        }
    }

    /// An integer, or a string that is a decimal integer: the way Redis sends a counter that was stored as a value.
    public var int: Int64? {
        switch self {
        case .integer(let number): number
        case .simpleString, .bulkString: string.flatMap { Int64($0) }
        case .error, .null, .array: nil
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
